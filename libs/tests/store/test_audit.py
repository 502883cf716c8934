"""Every change has an event, and every call has one event, however the call or its process ends."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from adplatform.events.v1.events_pb2 import AuditRecorded, Event
from sqlalchemy import Column, Integer, MetaData, Table, bindparam, insert

from adlib.audit import PostgresAuditTrail
from adlib.db import Database, Query, migrate
from adlib.ids import new_id
from adtesting.pytest_servers import FreshDatabase

_ADD = Query(insert(Table("numbers", MetaData(), Column("n", Integer))).values(n=bindparam("n")))


def prepare(url: str) -> None:
    migrate(url, ("adlib", "migrations/outbox"), ("adlib", "migrations/audit"))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE numbers (n integer CONSTRAINT small CHECK (n < 10))")


@pytest.fixture
def url(fresh_database: FreshDatabase) -> str:
    return fresh_database("audit", prepare)


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    db = Database(url)
    yield db
    db.close()


@pytest.fixture
def sql(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def trail(db: Database) -> PostgresAuditTrail:
    return PostgresAuditTrail(db)


class Recorded:
    """Makes the event of a call, as the interceptor does."""

    def __init__(self) -> None:
        self.id = str(new_id())

    def __call__(self, outcome: str = "UNKNOWN") -> Event:
        event = Event(id=self.id, audit_recorded=AuditRecorded(action="test.Add", outcome=outcome))
        event.time.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
        return event


def add(db: Database, n: int) -> None:
    with db.transaction() as tx:
        tx.execute(_ADD, n=n)


def left(sql: psycopg.Connection) -> tuple[list[str], list[str]]:
    """The outcomes of the events in the outbox, and of the pending ones."""
    queries = (
        "SELECT payload FROM outbox WHERE topic = 'audit' ORDER BY position",
        "SELECT payload FROM audit_pending",
    )
    out, pending = (
        [Event.FromString(row[0]).audit_recorded.outcome for row in sql.execute(query)] for query in queries
    )
    return out, pending


def test_every_committed_change_has_an_event(db: Database, trail: PostgresAuditTrail, sql: psycopg.Connection) -> None:
    event = Recorded()
    with trail.entry(event) as entry:
        assert not entry.is_pending
        add(db, 1)
        assert entry.is_pending
        assert left(sql) == ([], ["UNKNOWN"])
        entry.record(event("OK"))
    assert left(sql) == (["OK"], [])


def test_several_transactions_of_a_call_have_one_event(
    db: Database, trail: PostgresAuditTrail, sql: psycopg.Connection
) -> None:
    event = Recorded()
    with trail.entry(event) as entry:
        for n in range(3):
            add(db, n)
        entry.record(event("OK"))
    add(db, 4)
    assert left(sql) == (["OK"], [])


def test_rolled_back_transaction_leaves_no_pending_event(
    db: Database, trail: PostgresAuditTrail, sql: psycopg.Connection
) -> None:
    event = Recorded()
    with trail.entry(event) as entry:
        with pytest.raises(ZeroDivisionError), db.transaction() as tx:
            tx.execute(_ADD, n=1)
            _ = 1 // 0
        assert not entry.is_pending
        assert left(sql) == ([], [])
        entry.record(event("INTERNAL"))
    assert left(sql) == (["INTERNAL"], [])


def test_failed_commit_is_recorded_once(db: Database, trail: PostgresAuditTrail, sql: psycopg.Connection) -> None:
    sql.execute("ALTER TABLE numbers ADD CONSTRAINT one UNIQUE (n) DEFERRABLE INITIALLY DEFERRED")
    sql.execute("INSERT INTO numbers VALUES (1)")
    event = Recorded()
    with trail.entry(event) as entry:
        with pytest.raises(Exception, match="one"):
            add(db, 1)
        add(db, 2)
        entry.record(event("OK"))
    assert left(sql) == (["OK"], [])


def test_change_is_rolled_back_if_its_event_cannot_be_stored(
    db: Database, trail: PostgresAuditTrail, sql: psycopg.Connection
) -> None:
    sql.execute("ALTER TABLE audit_pending RENAME TO gone")
    event = Recorded()
    with trail.entry(event) as entry:
        with pytest.raises(Exception, match="internal error"):
            add(db, 1)
        entry.record(event("INTERNAL"))
    assert sql.execute("SELECT count(*) FROM numbers").fetchone() == (0,)


def test_call_succeeds_if_its_event_cannot_be_moved(
    db: Database, trail: PostgresAuditTrail, sql: psycopg.Connection
) -> None:
    event = Recorded()
    with trail.entry(event) as entry:
        add(db, 1)
        sql.execute("ALTER TABLE outbox RENAME TO gone")
        entry.record(event("OK"))
    sql.execute("ALTER TABLE gone RENAME TO outbox")
    assert left(sql) == ([], ["UNKNOWN"])


def test_sweep_moves_events_of_dead_processes_with_outcome_unknown(
    db: Database, trail: PostgresAuditTrail, sql: psycopg.Connection
) -> None:
    event = Recorded()
    with trail.entry(event) as entry:
        add(db, 1)
        assert trail.sweep() == 0
        sql.execute("UPDATE audit_pending SET created_at = created_at - interval '11 min'")
        assert trail.sweep() == 1
        # The call was only late; its event is in the outbox already.
        entry.record(event("OK"))
    assert left(sql) == (["UNKNOWN"], [])


def test_concurrent_calls_have_separate_entries(
    db: Database, trail: PostgresAuditTrail, sql: psycopg.Connection
) -> None:
    barrier = threading.Barrier(4)

    def call(n: int) -> None:
        event = Recorded()
        with trail.entry(event) as entry:
            barrier.wait()
            if n % 2:
                add(db, n)
            assert entry.is_pending == bool(n % 2)
            entry.record(event(str(n)))

    threads = [threading.Thread(target=call, args=[n]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    out, pending = left(sql)
    assert (sorted(out), pending) == (["0", "1", "2", "3"], [])


def test_background_work_is_not_recorded(db: Database, sql: psycopg.Connection) -> None:
    add(db, 1)
    assert left(sql) == ([], [])


def test_commit_with_unknown_outcome_leaves_one_event(
    db: Database, trail: PostgresAuditTrail, sql: psycopg.Connection
) -> None:
    """The commit took effect, but the connection broke before the answer."""
    event = Recorded()
    with trail.entry(event) as entry:
        sql.execute("INSERT INTO audit_pending (id, payload) VALUES (%s, %s)", [event.id, event().SerializeToString()])
        entry.record(event("UNAVAILABLE"))
    assert left(sql) == (["UNAVAILABLE"], [])
