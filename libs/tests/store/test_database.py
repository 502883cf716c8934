"""Transactions, and a server that goes away under them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, bindparam, insert, select, text

from adctl.embedded.postgres import PostgresServer
from adlib.db import Database, Query, UniqueViolated
from adlib.deadline import deadline
from adlib.errors import DeadlineExceeded, Internal, InvalidArgument, Unavailable
from adtesting import eventually
from adtesting.pytest_servers import FreshDatabase

numbers = Table("numbers", MetaData(), Column("n", Integer))
ADD = Query(insert(numbers).values(n=bindparam("n")))
LOCKS = Query(
    text(
        "SELECT pid FROM pg_locks JOIN pg_database ON oid = database"
        " WHERE locktype = 'advisory' AND datname = current_database()"
    )
)
ALL = Query(select(numbers.c.n).order_by(numbers.c.n).limit(100))


def prepare(url: str) -> None:
    db = Database(url)
    with db.transaction() as tx:
        tx.execute(Query(text("CREATE TABLE numbers (n integer PRIMARY KEY)")))
    db.close()


@pytest.fixture
def db(fresh_database: FreshDatabase) -> Database:
    return Database(fresh_database("numbers", prepare), max_connections=3)


def test_a_failed_transaction_leaves_nothing(db: Database) -> None:
    with pytest.raises(UniqueViolated, match="numbers_pkey"), db.transaction() as tx:
        tx.execute(ADD, n=1)
        tx.execute(ADD, n=1)
    assert db.all(ALL) == []


def test_a_savepoint_fails_alone(db: Database) -> None:
    with db.transaction() as tx:
        tx.execute(ADD, n=1)
        with pytest.raises(UniqueViolated), tx.savepoint():
            tx.execute(ADD, n=1)
        tx.execute(ADD, n=2)
    assert [row.n for row in db.all(ALL)] == [1, 2]


def test_a_failure_that_is_passed_over_is_no_success(db: Database) -> None:
    with pytest.raises(Internal), db.transaction() as tx:
        tx.execute(ADD, n=1)
        with suppress(psycopg.Error):
            tx.execute(ADD, n=1)
    assert db.all(ALL) == []


def test_a_text_that_cannot_be_kept_is_the_callers_fault(db: Database) -> None:
    with pytest.raises(InvalidArgument, match=r"U\+0000"):
        db.one(Query(text("SELECT CAST(:it AS text)")), it="a\0b")


def test_what_waits_for_the_commit_is_not_called_without_one(db: Database) -> None:
    called: list[str] = []
    with pytest.raises(ZeroDivisionError), db.transaction() as tx:
        tx.after_commit.append(lambda: called.append("rolled back"))
        _ = 1 // 0
    with db.transaction() as tx:
        tx.after_commit.append(lambda: called.append("committed"))
    assert called == ["committed"]


def test_connections_that_died_with_the_server_are_replaced_unseen(db: Database, postgres_server_url: str) -> None:
    assert db.all(ALL) == []
    (own,) = db.all(Query(text("SELECT current_database() AS name")))
    admin = Database(postgres_server_url)
    kill = Query(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"))
    with admin.transaction() as tx:
        tx.execute(kill, name=own.name)
    assert db.all(ALL) == []
    with admin.transaction() as tx:
        tx.execute(kill, name=own.name)
    with db.transaction() as tx:
        tx.execute(ADD, n=1)
    assert [row.n for row in db.all(ALL)] == [1]


def test_sql_and_sqlstate_never_leave(db: Database) -> None:
    with pytest.raises(Internal) as refused:
        db.one(Query(text("SELECT missing FROM numbers")))
    assert refused.value.message == "internal error"


def test_a_statement_that_takes_too_long_is_ended(fresh_database: FreshDatabase) -> None:
    db = Database(fresh_database("slow"), statement_timeout_ms=50)
    with pytest.raises(DeadlineExceeded):
        db.one(Query(text("SELECT pg_sleep(30)")))


def test_one_holder_of_a_name_at_a_time(db: Database) -> None:
    with db.advisory_lock("work") as first, db.advisory_lock("work") as second, db.advisory_lock("other") as other:
        assert (first, second, other) == (True, False, True)
    for _ in range(50):
        with db.advisory_lock("work") as again:
            assert again
        assert db.all(LOCKS) == [], "the name was still held after its block"


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """It keeps its connections, accepts new ones, and does not answer."""
    postmaster = psutil.Process(server.pid)
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def test_a_frozen_server_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "data", fsync=False) as server:
        db = Database(server.url(), max_connections=2, wait_s=0.5, statement_timeout_ms=200)
        one = Query(text("SELECT 1"))
        db.one(one)

        def read() -> None:
            db.one(one)

        def write() -> None:
            with db.transaction() as tx:
                tx.one(one)

        with frozen(server):
            for call in (read, write, db.check, read):
                with pytest.raises(Unavailable):
                    call()
        assert eventually(lambda: db.one(one), within_s=20)
        db.close()
    server.cluster.delete()


def test_the_time_of_a_call_is_longer_than_that_of_a_frozen_server(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "data", fsync=False) as server:
        db = Database(server.url(), statement_timeout_ms=600_000)
        db.check()
        with frozen(server):
            token = deadline.set(time.monotonic() + 0.2)
            with pytest.raises(Unavailable):
                db.one(Query(text("SELECT 1")))
            deadline.reset(token)
            with pytest.raises(Unavailable):
                db.check()
        db.close()
    server.cluster.delete()
