"""Transactions, and a server that stops or freezes during them."""

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


def test_failed_transaction_is_rolled_back(db: Database) -> None:
    with pytest.raises(UniqueViolated, match="numbers_pkey"), db.transaction() as tx:
        tx.execute(ADD, n=1)
        tx.execute(ADD, n=1)
    assert db.all(ALL) == []


def test_savepoint_rolls_back_only_its_own_block(db: Database) -> None:
    with db.transaction() as tx:
        tx.execute(ADD, n=1)
        with pytest.raises(UniqueViolated), tx.savepoint():
            tx.execute(ADD, n=1)
        tx.execute(ADD, n=2)
    assert [row.n for row in db.all(ALL)] == [1, 2]


def test_ignored_error_in_a_transaction_is_reported_at_commit(db: Database) -> None:
    with pytest.raises(Internal), db.transaction() as tx:
        tx.execute(ADD, n=1)
        with suppress(psycopg.Error):
            tx.execute(ADD, n=1)
    assert db.all(ALL) == []


def test_text_with_nul_is_an_invalid_argument(db: Database) -> None:
    with pytest.raises(InvalidArgument, match=r"U\+0000"):
        db.one(Query(text("SELECT CAST(:it AS text)")), it="a\0b")


def test_after_commit_is_called_only_after_a_commit(db: Database) -> None:
    called: list[str] = []
    with pytest.raises(ZeroDivisionError), db.transaction() as tx:
        tx.after_commit.append(lambda: called.append("rolled back"))
        _ = 1 // 0
    with db.transaction() as tx:
        tx.after_commit.append(lambda: called.append("committed"))
    assert called == ["committed"]


def test_broken_connections_are_replaced_without_an_error(db: Database, postgres_server_url: str) -> None:
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


def test_sql_and_sqlstate_are_not_sent_to_clients(db: Database) -> None:
    with pytest.raises(Internal) as refused:
        db.one(Query(text("SELECT missing FROM numbers")))
    assert refused.value.message == "internal error"


def test_statement_timeout_is_deadline_exceeded(fresh_database: FreshDatabase) -> None:
    db = Database(fresh_database("slow"), statement_timeout_ms=50)
    with pytest.raises(DeadlineExceeded):
        db.one(Query(text("SELECT pg_sleep(30)")))


def test_advisory_lock_has_one_holder_at_a_time(db: Database) -> None:
    with db.advisory_lock("work") as first, db.advisory_lock("work") as second, db.advisory_lock("other") as other:
        assert (first, second, other) == (True, False, True)
    for _ in range(50):
        with db.advisory_lock("work") as again:
            assert again
        assert db.all(LOCKS) == [], "the lock was still held after its block"


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """The server keeps its connections, accepts new ones, and does not answer."""
    postmaster = psutil.Process(server.pid)
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def test_wait_for_a_frozen_server_is_limited(tmp_path: Path) -> None:
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


def test_wait_for_a_frozen_server_is_limited_by_the_deadline(tmp_path: Path) -> None:
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
