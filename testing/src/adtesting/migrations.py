"""Rolls migrations back and applies them again, for tests with rows in the tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from yoyo import get_backend, read_migrations

from adlib.db import migrate


@contextmanager
def rolled_back(url: str, package: str, first: str, folder: str = "migrations") -> Iterator[None]:
    """Rolls back this migration and later ones for the block, and applies them again at its end.

    `first` is the beginning of the migration's name, such as "payment-0022".
    """
    backend = get_backend(url.replace("postgresql://", "postgresql+psycopg://", 1))
    every = read_migrations(str(files(package) / folder))
    backend.rollback_migrations(backend.to_rollback(every.filter(lambda one: one.id >= first)))
    backend.connection.close()
    yield
    migrate(url, (package, folder))
