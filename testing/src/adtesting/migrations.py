"""Migrations taken back and applied again, with whatever is in the tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from yoyo import get_backend, read_migrations

from adlib.db import migrate


@contextmanager
def rolled_back(url: str, package: str, first: str, folder: str = "migrations") -> Iterator[None]:
    """The database without this migration and later ones while the block runs; they are applied again at its end.

    `first` is the beginning of the migration's name, such as "payment-0022".
    """
    backend = get_backend(url.replace("postgresql://", "postgresql+psycopg://", 1))
    every = read_migrations(str(files(package) / folder))
    backend.rollback_migrations(backend.to_rollback(every.filter(lambda one: one.id >= first)))
    backend.connection.close()
    yield
    migrate(url, (package, folder))
