"""A database stores the releases that its migrations need, and older releases refuse to run on it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from yoyo import get_backend, read_migrations

from adlib.db import ReleaseTooOld, migrate, require_compatible
from adlib.db.releases import needed_release
from adlib.release import RELEASE
from adtesting.pytest_servers import FreshDatabase

NEEDED = "SELECT migration_id, runs_with FROM migration_releases ORDER BY migration_id"
INBOX = ("adlib", "migrations/inbox")
LATER = ("later_release", "migrations")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of migrations of a package LATER, to which tests add files."""
    folder = tmp_path / LATER[0] / LATER[1]
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    sys.modules.pop(LATER[0], None)


def add(package: Path, name: str, runs_with: int | None) -> None:
    header = f"-- runs-with: {runs_with}\n" if runs_with else ""
    (package / f"{name}.sql").write_text(f"{header}CREATE TABLE {name} (n integer);\n")
    (package / f"{name}.rollback.sql").write_text(f"DROP TABLE {name};\n")


def needed(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute(NEEDED).fetchall())


def roll_back(url: str, package: Path) -> None:
    """Rolls back with yoyo itself, as an operator does."""
    backend = get_backend(url.replace("postgresql://", "postgresql+psycopg://", 1))
    backend.rollback_migrations(backend.to_rollback(read_migrations(str(package))))
    backend.connection.close()


def test_old_release_refuses_and_names_the_migration(package: Path, fresh_database: FreshDatabase) -> None:
    url = fresh_database("too_old")
    add(package, "harmless", 1)
    add(package, "incompatible", RELEASE + 1)
    migrate(url, INBOX, LATER)
    with pytest.raises(ReleaseTooOld, match=rf"incompatible, which needs release {RELEASE + 1} or later"):
        require_compatible(url, INBOX)
    with pytest.raises(ReleaseTooOld, match="incompatible"):
        migrate(url, INBOX)


def test_old_release_applies_no_migration(package: Path, fresh_database: FreshDatabase) -> None:
    url = fresh_database("applies_nothing")
    add(package, "incompatible", RELEASE + 1)
    migrate(url, LATER)
    with pytest.raises(ReleaseTooOld):
        migrate(url, INBOX)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('inbox')").fetchone() == (None,)


def test_previous_release_runs_and_logs_unknown_migrations(
    package: Path, fresh_database: FreshDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    url = fresh_database("goes_on")
    add(package, "additive", RELEASE)
    migrate(url, INBOX, LATER)
    capsys.readouterr()
    require_compatible(url, INBOX)
    assert migrate(url, INBOX) == []
    logged = [line for line in capsys.readouterr().out.splitlines() if "database_is_newer" in line]
    assert len(logged) == 2
    assert all("additive" in line and "adlib-inbox" not in line for line in logged)


def test_rolled_back_migration_no_longer_counts(package: Path, fresh_database: FreshDatabase) -> None:
    url = fresh_database("rolled_back")
    add(package, "incompatible", RELEASE + 1)
    migrate(url, INBOX, LATER)
    roll_back(url, package)
    require_compatible(url, INBOX)
    migrate(url, INBOX)
    assert "incompatible" not in needed(url)


def test_earlier_migrations_are_recorded(fresh_database: FreshDatabase) -> None:
    url = fresh_database("no_record")
    applied = migrate(url, INBOX)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE migration_releases")
    require_compatible(url, INBOX)
    assert migrate(url, INBOX) == []
    assert needed(url) == dict.fromkeys(applied, 1)


def test_database_without_tables_is_compatible(fresh_database: FreshDatabase) -> None:
    require_compatible(fresh_database("empty"), INBOX)


def test_older_release_does_not_lower_a_needed_release(package: Path, fresh_database: FreshDatabase) -> None:
    url = fresh_database("lowered")
    add(package, "corrected", RELEASE)
    migrate(url, LATER)
    add(package, "corrected", 1)
    migrate(url, LATER)
    assert needed(url) == {"corrected": RELEASE}


def test_failed_migration_stays_compatible_with_the_older_release(package: Path, fresh_database: FreshDatabase) -> None:
    url = fresh_database("failed")
    (package / "broken.sql").write_text(f"-- runs-with: {RELEASE + 1}\nSELECT 1 / 0;\n")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(url, LATER)
    require_compatible(url, INBOX)


def test_migration_without_a_header_is_not_applied(package: Path, fresh_database: FreshDatabase) -> None:
    url = fresh_database("no_header")
    add(package, "silent", None)
    with pytest.raises(ValueError, match=r"silent.sql has no header like '-- runs-with: 1'"):
        migrate(url, LATER)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('silent')").fetchone() == (None,)


@pytest.mark.parametrize(("name", "text"), [
    ("one.sql", "-- transactional: false\n-- runs-with: 7\nSELECT 1;\n"),
    ("one.py", '# runs-with: 7\n"""Steps."""\n'),
])  # fmt: skip
def test_header_is_found_among_the_first_comments(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert needed_release(tmp_path / name) == 7


@pytest.mark.parametrize("text", ["SELECT 1;\n-- runs-with: 1\n", "-- runs-with: 0\n", "-- runs-with: soon\n", ""])
def test_other_text_is_not_a_header(tmp_path: Path, text: str) -> None:
    (tmp_path / "one.sql").write_text(text)
    with pytest.raises(ValueError, match="has no header"):
        needed_release(tmp_path / "one.sql")
