"""Audit logs in the database: each call once, in its organization's chain, immutable."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import psycopg
import pytest
from adplatform.auth.v1.audit_pb2 import ListAuditLogsRequest

from adlib.db import Database, Transaction
from adlib.errors import InvalidField, Unavailable
from adlib.ids import new_id
from adlib.paging import Page, page
from auth_service.audit.model import Entry, Filter
from auth_service.audit.service import AuditService

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
NO_ACCESS = UUID(int=0)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    db = Database(database_url)
    yield db
    db.close()


@pytest.fixture
def sql(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def audit(db: Database) -> AuditService:
    return AuditService(db)


def organization(sql: psycopg.Connection, kind: str = "ADVERTISER") -> UUID:
    user, made = uuid4(), uuid4()
    sql.execute(
        "INSERT INTO users (id, email, name, created_at, updated_at) VALUES (%s, %s, 'Ada', now(), now())",
        [user, f"{user}@example.com"],
    )
    sql.execute(
        "INSERT INTO organizations (id, name, kind, owner_id, created_at, updated_at)"
        " VALUES (%s, 'Acme', %s, %s, now(), now())",
        [made, kind, user],
    )
    return made


def entry(**changes: object) -> Entry:
    made = Entry(
        id=new_id(),
        time=NOW,
        actor="PERSON",
        user_id=uuid4(),
        api_key_id=None,
        service="",
        action="campaign.StartCampaign",
        resource="campaigns/1/start",
        outcome="OK",
        reason="",
        request_id="r",
        address="192.0.2.7",
    )
    return replace(made, **changes)


def fill(audit: AuditService, home: UUID, count: int) -> list[Entry]:
    entries = [entry() for _ in range(count)]
    audit.add([(home, one) for one in entries])
    return entries


def listed(audit: AuditService, home: UUID, **wanted: object) -> list[Entry]:
    return [row.entry for row in audit.list_page(home, Page(200), Filter(**wanted)).rows]


def tamper(sql: psycopg.Connection, statement: str, *values: object) -> None:
    """Changes rows as a superuser could."""
    sql.execute("SET session_replication_role = replica")
    assert sql.execute(statement, values).rowcount >= 1
    sql.execute("SET session_replication_role = origin")


def test_recorded_calls_are_listed_and_verified(audit: AuditService, sql: psycopg.Connection) -> None:
    home, other = organization(sql), organization(sql)
    mine = fill(audit, home, 3)
    fill(audit, other, 2)
    assert listed(audit, home) == mine[::-1]
    verified = audit.verify(home, 0)
    assert (verified.count, verified.broken_sequence, verified.next_sequence) == (3, 0, 0)
    assert verified.last_hash == audit.list_page(home, Page(1), Filter()).rows[0].hash


def test_event_is_stored_once(audit: AuditService, sql: psycopg.Connection) -> None:
    home = organization(sql)
    first, second = entry(), entry()
    audit.add([(home, first), (home, replace(first, outcome="UNKNOWN"))])
    audit.add([(home, first), (home, second)])
    assert [one.id for one in listed(audit, home)] == [second.id, first.id]
    assert audit.verify(home, 0).count == 2


def test_calls_without_organization_wait_for_the_platform(audit: AuditService, sql: psycopg.Connection) -> None:
    home, stray = organization(sql), [(NO_ACCESS, entry()), (uuid4(), entry())]
    own = entry()
    for _ in range(2):
        with pytest.raises(Unavailable):
            audit.add([stray[0], (home, own), stray[1]])
    assert listed(audit, home) == [own]
    platform = organization(sql, "PLATFORM")
    audit.add([stray[0], (home, own), stray[1]])
    assert listed(audit, home) == [own]
    assert listed(audit, platform) == [stray[1][1], stray[0][1]]
    assert audit.verify(platform, 0).count == 2


def test_concurrent_processes_append_to_one_chain(audit: AuditService, sql: psycopg.Connection) -> None:
    home = organization(sql)
    shared = [(home, entry()) for _ in range(5)]
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(audit.add, [*shared, *((home, entry()) for _ in range(10))]) for _ in range(8)]:
            # The handler that loses the race for an event receives the batch again.
            done.result()
    verified = audit.verify(home, 0)
    assert (verified.count, verified.broken_sequence) == (5 + 8 * 10, 0)


def test_log_is_filtered_by_user_action_and_time(audit: AuditService, sql: psycopg.Connection) -> None:
    home, ada = organization(sql), uuid4()
    old = entry(time=NOW - timedelta(days=1))
    hers = entry(user_id=ada)
    other = entry(action="pixel.CreatePixel", user_id=ada, time=NOW + timedelta(days=1))
    audit.add([(home, one) for one in (old, hers, other)])
    assert listed(audit, home, user_id=ada) == [other, hers]
    assert listed(audit, home, action="campaign.StartCampaign") == [hers, old]
    assert listed(audit, home, start=NOW) == [other, hers]
    assert listed(audit, home, end=NOW) == [old]
    assert listed(audit, home, user_id=ada, action="pixel.CreatePixel", start=NOW, end=NOW + timedelta(days=2)) == [
        other
    ]


def test_pages_are_stable_while_rows_are_appended(audit: AuditService, sql: psycopg.Connection) -> None:
    home = organization(sql)
    entries = fill(audit, home, 5)
    found, token = [], ""
    while True:
        asked = page(ListAuditLogsRequest(page_size=2, page_token=token), "ListAuditLogs", home)
        part = audit.list_page(home, asked, Filter())
        found += [row.entry for row in part.rows]
        fill(audit, home, 1)
        token = part.next_page_token
        if not token:
            break
    assert found == entries[::-1]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_logs SET outcome = 'OK'",
        "DELETE FROM audit_logs",
        "TRUNCATE audit_logs",
        "DELETE FROM audit_heads",
        "TRUNCATE audit_heads",
    ],
)
def test_log_rows_are_immutable(audit: AuditService, sql: psycopg.Connection, statement: str) -> None:
    fill(audit, organization(sql), 1)
    with pytest.raises(psycopg.errors.RaiseException, match="only ever added to"):
        sql.execute(statement)


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE audit_logs SET outcome = 'UNKNOWN' WHERE organization_id = %s AND sequence = 3", 3),
        ("UPDATE audit_logs SET time = time + interval '1 microsecond' WHERE organization_id = %s AND sequence = 3", 3),
        ("DELETE FROM audit_logs WHERE organization_id = %s AND sequence = 1", 1),
        ("DELETE FROM audit_logs WHERE organization_id = %s AND sequence = 3", 3),
        ("DELETE FROM audit_logs WHERE organization_id = %s AND sequence >= 4", 4),
        ("DELETE FROM audit_logs WHERE organization_id = %s", 1),
        ("DELETE FROM audit_heads WHERE organization_id = %s", 1),
        ("UPDATE audit_heads SET sequence = 4 WHERE organization_id = %s", 5),
        ("UPDATE audit_heads SET hash = 'x' WHERE organization_id = %s", 5),
        (
            "INSERT INTO audit_logs SELECT organization_id, 6, gen_random_uuid(), time, actor, user_id, api_key_id,"
            " service, action, resource, outcome, reason, request_id, address, hash"
            " FROM audit_logs WHERE organization_id = %s AND sequence = 5",
            6,
        ),
    ],
)
def test_tampering_with_a_log_is_detected(
    audit: AuditService, sql: psycopg.Connection, statement: str, broken: int
) -> None:
    home = organization(sql)
    fill(audit, home, 5)
    tamper(sql, statement, home)
    assert audit.verify(home, 0).broken_sequence == broken


def test_swapped_rows_are_detected(audit: AuditService, sql: psycopg.Connection) -> None:
    home = organization(sql)
    fill(audit, home, 5)
    for old, new in ((2, 9), (3, 2), (9, 3)):
        move = "UPDATE audit_logs SET sequence = %s WHERE organization_id = %s AND sequence = %s"
        tamper(sql, move, new, home, old)
    verified = audit.verify(home, 0)
    assert (verified.broken_sequence, verified.count) == (2, 1)


def test_part_of_log_can_be_verified(audit: AuditService, sql: psycopg.Connection) -> None:
    home = organization(sql)
    fill(audit, home, 5)
    assert audit.verify(home, 4).count == 2
    assert audit.verify(home, 6).count == 0
    with pytest.raises(InvalidField, match="5 entries"):
        audit.verify(home, 7)
    tamper(sql, "UPDATE audit_logs SET outcome = 'x' WHERE organization_id = %s AND sequence = 2", home)
    assert audit.verify(home, 0).broken_sequence == 2
    assert audit.verify(home, 3).broken_sequence == 0
    assert audit.verify(uuid4(), 0).count == 0


def test_long_log_is_verified_in_parts(db: Database, sql: psycopg.Connection) -> None:
    audit = AuditService(db, max_verified=4, batch=3)
    home = organization(sql)
    fill(audit, home, 10)
    parts, start = [], 0
    while True:
        verified = audit.verify(home, start)
        assert verified.broken_sequence == 0
        parts.append(verified.count)
        start = verified.next_sequence
        if not start:
            break
    assert parts == [4, 4, 2]


class Counted:
    """A database that counts the statements in transactions."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.asked = 0

    @contextmanager
    def transaction(self) -> Iterator["CountedTransaction"]:
        with self._db.transaction() as tx:
            yield CountedTransaction(tx, self)


class CountedTransaction:
    def __init__(self, tx: Transaction, counted: Counted) -> None:
        self._tx = tx
        self._counted = counted

    def __getattr__(self, name: str) -> Any:
        self._counted.asked += 1
        return getattr(self._tx, name)


def test_batch_append_uses_as_many_statements_as_a_single_append(db: Database, sql: psycopg.Connection) -> None:
    home, counted = organization(sql), Counted(db)
    audit = AuditService(cast("Any", counted))
    audit.add([(home, entry())])
    asked = []
    for size in (1, 100):
        counted.asked = 0
        audit.add([(home, entry()) for _ in range(size)])
        asked.append(counted.asked)
    assert asked[0] == asked[1] > 0
