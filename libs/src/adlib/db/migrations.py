"""Applies migrations."""

from importlib.resources import as_file, files

import psycopg
from yoyo import get_backend, read_migrations

from adlib.db import releases

# An arbitrary number, the same in every process that migrates.
_LOCK_ID = 7_205_759_403_792


def sources(package: str, *shared: str) -> tuple[releases.Source, ...]:
    """The migrations of a service's database: of `adlib`'s tables with these names, then the package's own."""
    return (*(("adlib", f"migrations/{name}") for name in shared), (package, "migrations"))


def migrate(url: str, *sources: tuple[str, str]) -> list[str]:
    """Applies the migrations that the database lacks and returns their ids; a source is a package and its folder.

    An advisory lock makes concurrent runs wait for each other. Raises ReleaseTooOld, with nothing applied, if the
    database needs a later release, and ValueError for a migration without a `runs-with` header.
    """
    applied: list[str] = []
    needed = releases.needed_releases(*sources)
    with psycopg.connect(url, autocommit=True) as lock:
        lock.execute("SELECT pg_advisory_lock(%s)", [_LOCK_ID])
        releases.require_compatible_on(lock, needed)
        backend = get_backend(url.replace("postgresql://", "postgresql+psycopg://", 1))
        backend.execute("SET lock_timeout = '5s'")
        try:
            backend.ensure_internal_schema_updated()
            releases.record(lock, needed)
            for package, folder in sources:
                with as_file(files(package) / folder) as path:
                    missing = backend.to_apply(read_migrations(str(path)))
                    backend.apply_migrations(missing)
                    applied += [migration.id for migration in missing]
        finally:
            backend.connection.close()
    return applied
