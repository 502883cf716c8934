"""Compatibility of code and database: each migration names the oldest release that can run after it.

The header is a comment before the first statement: `-- runs-with: 1`, in Python `# runs-with: 1`. The database stores
it in `migration_releases`. During a rolling deploy the previous release runs on the migrated tables, so a header names
the current release only if the previous one must be stopped first.
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

_CONNECT_TIMEOUT_S = 3
_HEADER = re.compile(r"(?:--|#) runs-with: ([1-9][0-9]*)")
# Joined with yoyo's own table, so a migration that any tool has rolled back no longer counts.
_CREATE = """
CREATE TABLE IF NOT EXISTS migration_releases (
    migration_id text PRIMARY KEY, runs_with integer NOT NULL CHECK (runs_with > 0)
)
"""
# Older code must not lower a number that a later release has raised.
_RECORD = """
INSERT INTO migration_releases (migration_id, runs_with) VALUES (%s, %s)
ON CONFLICT (migration_id) DO UPDATE SET runs_with = EXCLUDED.runs_with
WHERE migration_releases.runs_with < EXCLUDED.runs_with
"""
_DELETE_UNAPPLIED = """
DELETE FROM migration_releases WHERE migration_id NOT IN (SELECT migration_id FROM _yoyo_migration)
"""
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
    """The database has a migration that this release cannot run on."""

    def __init__(self, migration_id: str, runs_with: int) -> None:
        super().__init__(
            f"this is release {RELEASE}, and the database has migration {migration_id}, which needs release {runs_with}"
            f" or later; run release {runs_with} or later, or apply the migration's rollback first",
            migration_id=migration_id,
            runs_with=runs_with,
        )


def needed_release(migration: Path) -> int:
    """The oldest release that can run after the migration; ValueError without a header."""
    for line in migration.read_text(encoding="utf-8").splitlines():
        if found := _HEADER.fullmatch(line.strip()):
            return int(found[1])
        if line.strip() and not line.startswith(("--", "#")):
            break
    raise ValueError(f"{migration.name} has no header like '-- runs-with: 1' before its first statement")


def needed_releases(*sources: Source) -> dict[str, int]:
    """The needed release of each migration in these folders, by its id."""
    found: dict[str, int] = {}
    for package, folder in sources:
        with as_file(files(package) / folder) as path:
            found |= {one.id: needed_release(Path(one.path)) for one in read_migrations(str(path))}
    return found


def record(connection: "psycopg.Connection[Any]", needed: Mapping[str, int]) -> None:
    """Stores the releases that these migrations need.

    Called before they are applied, so that no applied migration is missing if the process is killed in between.
    """
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_CREATE)
        cursor.execute(_DELETE_UNAPPLIED)
        cursor.executemany(_RECORD, list(needed.items()))


def require_compatible_on(
    connection: "psycopg.Connection[Any]", known: Sequence[str] | Mapping[str, int] | None = None
) -> None:
    """Raises ReleaseTooOld if an applied migration needs a later release than this one.

    `known` are the ids of this release's migrations; other applied migrations are logged.
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
    """Raises ReleaseTooOld if the database at the URL needs a later release, and Unavailable if it does not answer.

    A database without the table `migration_releases`, from a release before 2, is compatible with every release.
    """
    known = needed_releases(*sources) if sources else None
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S) as connection:
            require_compatible_on(connection, known)
    except psycopg.OperationalError as error:
        raise Unavailable("the database does not answer; try again") from error
