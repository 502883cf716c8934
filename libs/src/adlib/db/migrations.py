"""Brings a database's tables up to date."""

from importlib.resources import as_file, files

import psycopg
from yoyo import get_backend, read_migrations

from adlib.db import releases

# Any number; the same in every process that migrates.
_LOCK = 7_205_759_403_792


def migrate(url: str, *sources: tuple[str, str]) -> list[str]:
    """Applies what is missing, each source a package and its folder of yoyo migrations; the ids applied.

    Processes that start at the same time wait for one another. ReleaseTooOld, with nothing applied, where the database
    belongs to a later release; ValueError where a migration does not say which release may run on it.
    """
    applied: list[str] = []
    needed = releases.of_sources(*sources)
    with psycopg.connect(url, autocommit=True) as lock:
        lock.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        releases.require(lock, needed)
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
