import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from adctl.embedded.postgres import PostgresServer
from adctl.supervision.children import NAMESPACE, NO_ACCESS, SAME_USER, ChildError, Identity, unprivileged

# Root may run it in two ways, of which the second must work where the first is refused.
IDENTITIES = [SAME_USER] if os.geteuid() != 0 else [NO_ACCESS, *([NAMESPACE] if unprivileged() == NAMESPACE else [])]


@pytest.fixture(params=IDENTITIES, ids=str)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PostgresServer]:
    identity: Identity = request.param
    with PostgresServer(tmp_path / "data", fsync=False, identity=identity) as running:
        yield running
    running.cluster.delete()
    assert not running.cluster.data_dir.exists()


def _execute(server: PostgresServer, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_postgres_runs_in_utc_and_utf8_and_not_as_root(server: PostgresServer) -> None:
    assert _execute(server, "SHOW timezone") == [("UTC",)]
    assert _execute(server, "SHOW server_encoding") == [("UTF8",)]
    assert _execute(server, "SELECT length(uuidv7()::text)") == [(36,)]


def test_wrong_password_is_refused(server: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url().replace(server.password, "wrong"))


def test_postgres_starts_after_a_kill_despite_a_stale_pid_file(server: PostgresServer) -> None:
    _execute(server, "CREATE TABLE kept AS SELECT 7 AS number")
    server.kill()
    pid_file = server.cluster.data_dir / "postmaster.pid"
    assert pid_file.exists()
    server.start()
    assert _execute(server, "SELECT number FROM kept") == [(7,)]
    server.stop()
    # In a container the number in a stale pid file is soon another process's: here, this one's.
    pid_file.write_text(f"{os.getpid()}\n{server.cluster.data_dir}\n")
    server.start()
    assert _execute(server, "SELECT number FROM kept") == [(7,)]


def test_unfinished_cluster_is_created_again(tmp_path: Path) -> None:
    leftover = tmp_path / "data.new" / "cluster"
    leftover.mkdir(parents=True)
    (leftover / "PG_VERSION").write_text("18")
    with PostgresServer(tmp_path / "data", fsync=False) as server:
        assert _execute(server, "SELECT 1") == [(1,)]
    assert not leftover.exists()


def test_data_of_another_major_version_is_refused(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "data", fsync=False) as server:
        pass
    (server.cluster.data_dir / "PG_VERSION").write_text("99\n")
    with pytest.raises(ChildError, match=r"PostgreSQL 99 wrote the data in .*, and this platform has PostgreSQL \d+;"):
        server.start()
    server.cluster.delete()
