"""Which code may run on a database: every migration says so in its header, and the database remembers it.

The header is a comment before the first statement, `-- runs-with: 1` (in Python `# runs-with: 1`): the oldest release
whose code may run once the migration is applied. A rolling deploy keeps the previous release running on the migrated
tables, so a header names this release only where the previous one must be stopped first.
"""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import psycopg
from yoyo import read_migrations

from adlib.errors import FailedPrecondition, Unavailable
from adlib.release import RELEASE
from adlib.telemetry import logger

_CONNECT_S = 3
_HEADER = re.compile(r"(?:--|#) runs-with: ([1-9][0-9]*)")
# yoyo's own table says what is applied, so a migration that is rolled back by any tool counts no longer.
_CREATE = """
CREATE TABLE IF NOT EXISTS migration_releases (
    migration_id text PRIMARY KEY, runs_with integer NOT NULL CHECK (runs_with > 0)
)
"""
# Older code that may run here must not lower what newer code found out about a migration.
_RECORD = """
INSERT INTO migration_releases (migration_id, runs_with) VALUES (%s, %s)
ON CONFLICT (migration_id) DO UPDATE SET runs_with = EXCLUDED.runs_with
WHERE migration_releases.runs_with < EXCLUDED.runs_with
"""
_FORGET = "DELETE FROM migration_releases WHERE migration_id NOT IN (SELECT migration_id FROM _yoyo_migration)"
_HAS_TABLES = """
SELECT to_regclass('migration_releases') IS NOT NULL AND to_regclass('_yoyo_migration') IS NOT NULL
"""
_APPLIED = """
SELECT migration_id, runs_with FROM migration_releases JOIN _yoyo_migration USING (migration_id)
ORDER BY runs_with DESC, migration_id DESC
"""

_log = logger(__name__)

Source = tuple[str, str]
"""A package and its folder of migrations."""


class ReleaseTooOld(FailedPrecondition):
    """The database has a migration that this code must not run on."""

    def __init__(self, migration_id: str, runs_with: int) -> None:
        super().__init__(
            f"this is release {RELEASE}, and the database has migration {migration_id}, which needs release {runs_with}"
            f" or later; run release {runs_with} or later, or apply the migration's rollback first",
            migration_id=migration_id,
            runs_with=runs_with,
        )


def needed_release(migration: Path) -> int:
    """The oldest release whose code may run once the migration is applied; ValueError where it does not say."""
    for line in migration.read_text(encoding="utf-8").splitlines():
        if found := _HEADER.fullmatch(line.strip()):
            return int(found[1])
        if line.strip() and not line.startswith(("--", "#")):
            break
    raise ValueError(f"{migration.name} has no header like '-- runs-with: 1' before its first statement")


def of_sources(*sources: Source) -> dict[str, int]:
    """The needed release of each migration there, by its id."""
    found: dict[str, int] = {}
    for package, folder in sources:
        with as_file(files(package) / folder) as path:
            found |= {one.id: needed_release(Path(one.path)) for one in read_migrations(str(path))}
    return found


def record(connection: "psycopg.Connection[Any]", needed: Mapping[str, int]) -> None:
    """Keeps what these migrations need, applied or about to be applied.

    Before they are applied: a runner that is killed in between must not leave one that nothing is known of.
    """
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_CREATE)
        cursor.execute(_FORGET)
        cursor.executemany(_RECORD, list(needed.items()))


def require(connection: "psycopg.Connection[Any]", known: Sequence[str] | Mapping[str, int] | None = None) -> None:
    """Raises ReleaseTooOld where an applied migration needs a later release than this one.

    `known` are this release's own migrations; the others that are applied are logged.
    """
    row = connection.execute(_HAS_TABLES).fetchone()
    if not (row and row[0]):
        return
    applied = connection.execute(_APPLIED).fetchall()
    if applied and applied[0][1] > RELEASE:
        raise ReleaseTooOld(*applied[0])
    newer = [id for id, _ in applied if known is not None and id not in known]
    if newer:
        _log.info("database_is_newer", release=RELEASE, migrations=newer)


def require_compatible(url: str, *sources: Source) -> None:
    """The same for the database at a URL; UNAVAILABLE where it does not answer.

    A database without a record, of a release that kept none, allows everything.
    """
    known = of_sources(*sources) if sources else None
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_S) as connection:
            require(connection, known)
    except psycopg.OperationalError as error:
        raise Unavailable("the database does not answer; try again") from error
