"""PurgeExpired deletes exactly the rows whose retention period has ended."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from adplatform.auth.v1.auth_pb2 import LogInRequest, User
from prometheus_client import REGISTRY

from adlib import idempotency, inbox
from adlib.clock import FixedClock, SystemClock
from adlib.db import Database, migrate
from adlib.documents import PostgresDocuments
from adlib.documents import postgres as documents
from adlib.idempotency import Idempotency
from adlib.purge import PurgeExpired
from adlib.retention import NotPurged, Retention, Rule
from adtesting.pytest_servers import FreshDatabase

RULES: tuple[Rule, ...] = (
    inbox.RETENTION,
    idempotency.RETENTION,
    documents.RETENTION,
    NotPurged("outbox", "it is emptied"),
)


def prepare(url: str) -> None:
    migrate(url, *(("adlib", f"migrations/{name}") for name in ("inbox", "idempotency", "documents")))


@pytest.fixture
def url(fresh_database: FreshDatabase) -> str:
    return fresh_database("purge", prepare)


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


def in_days(days: float) -> FixedClock:
    return FixedClock(SystemClock().now() + timedelta(days=days))


def purged(table: str) -> float:
    return REGISTRY.get_sample_value("purged_rows_total", {"table": table}) or 0


def test_old_inbox_rows_are_deleted_in_batches(db: Database, url: str) -> None:
    with psycopg.connect(url) as sql:
        sql.execute(
            "INSERT INTO inbox (consumer, event_id) SELECT number, uuidv7() FROM generate_series(1, 250) number"
        )
    before = purged("inbox")
    assert PurgeExpired(db, in_days(29.9), RULES).run().message == "purge-expired: 3 of 3 done"
    result = PurgeExpired(db, in_days(30.1), RULES).run()
    assert (result.success, result.stats.total) == (True, 3)
    assert result.message == "purge-expired: 3 of 3 done; rows deleted: 250 inbox"
    assert purged("inbox") - before == 250


def test_idempotency_key_is_new_after_30_days(db: Database) -> None:
    def answer() -> User | None:
        idempotency: Idempotency[str, User] = Idempotency(
            organization_id, "Make", "k", request, lambda name: User(name=name), User
        )
        with db.transaction() as tx:
            seen = idempotency.replay(tx)
            if seen is None:
                idempotency.record(tx, "Ada")
            return seen

    organization_id, request = uuid4(), LogInRequest(email="a")
    assert answer() is None
    PurgeExpired(db, in_days(29.9), RULES).run()
    assert answer() == User(name="Ada")
    PurgeExpired(db, in_days(30.1), RULES).run()
    assert answer() is None


def test_expired_documents_are_deleted(db: Database, url: str) -> None:
    clock = in_days(0)
    stored = PostgresDocuments(db, clock)
    for name, expires_at in (("old", clock.at), ("later", clock.at + timedelta(seconds=1)), ("kept", None)):
        stored.put("c", name, {}, expires_at=expires_at)
    assert PurgeExpired(db, clock, RULES).run().success
    with psycopg.connect(url) as sql:
        assert {id for (id,) in sql.execute("SELECT id FROM documents")} == {"later", "kept"}


def test_table_can_have_several_retention_rules(db: Database, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as sql:
        sql.execute("CREATE TABLE visits (name text, began date, ended timestamptz)")
        sql.execute(
            "INSERT INTO visits VALUES ('ended', '2026-01-01', '2026-01-01'), ('open', '2026-01-01', NULL),"
            " ('kept', '2026-01-01', '2026-01-09'), ('new', '2026-01-09', NULL)"
        )
        rules = (Retention("visits", "ended", 5), Retention("visits", "began", 7, condition="ended IS NULL"))
        clock = FixedClock(SystemClock().now().replace(year=2026, month=1, day=9))
        assert PurgeExpired(db, clock, rules).run().message == "purge-expired: 1 of 1 done; rows deleted: 2 visits"
        assert [name for (name,) in sql.execute("SELECT name FROM visits ORDER BY 1")] == ["kept", "new"]


def test_failing_table_does_not_stop_others(db: Database, url: str) -> None:
    with psycopg.connect(url) as sql:
        sql.execute("INSERT INTO inbox (consumer, event_id) VALUES ('c', uuidv7())")
    result = PurgeExpired(db, in_days(31), [Retention("gone", "made_at", 1), inbox.RETENTION]).run()
    assert (result.success, [one.item for one in result.failures]) == (False, ["gone"])
    assert result.message.endswith("1 inbox")
