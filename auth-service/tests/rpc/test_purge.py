"""PurgeExpired deletes rows past their retention, and no others."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import grpc
import psycopg
import pytest
from adplatform.auth.v1 import jobs_pb2 as pb
from adplatform.auth.v1 import jobs_pb2_grpc
from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib.clock import FixedClock
from adlib.db import Database, migrate
from adlib.ids import new_id
from adlib.purge import PurgeExpired
from adlib.rpc import ServiceProcess
from adtesting import FakeAccess, FakeAuditTrail, Identities, running, stub_channel
from adtesting.migrations import rolled_back
from adtesting.pytest_servers import FreshDatabase
from auth_service.jobs import AuthJobsServicer
from auth_service.retention import RULES

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KINDS = 7

Add = Callable[..., object]
Left = Callable[[str], set[str]]


def prepare(url: str) -> None:
    own = ("documents", "inbox", "idempotency")
    migrate(url, *(("adlib", f"migrations/{name}") for name in own), ("auth_service", "migrations"))


@pytest.fixture
def database_url(fresh_database: FreshDatabase) -> str:
    return fresh_database("purge", prepare)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def sql(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def add(sql: psycopg.Connection) -> Add:
    """Adds a row and returns its id, which is generated unless given."""

    def call(table: str, **values: object) -> object:
        names, placeholders = ", ".join(values), ", ".join(f"%({name})s" for name in values)
        sql.execute(f"INSERT INTO {table} ({names}) VALUES ({placeholders})", values)  # noqa: S608 - the test's own names
        return values.get("id")

    return call


@pytest.fixture
def left(sql: psycopg.Connection) -> Left:
    """The values of a table's column that were not purged."""

    def call(table_column: str) -> set[str]:
        table, column = table_column.split(".")
        return {row[0] for row in sql.execute(f"SELECT {column} FROM {table}")}  # noqa: S608 - the test's own names

    return call


@pytest.fixture
def people() -> Identities:
    made = Identities("auth-service")
    made.service("scheduler")
    return made


@pytest.fixture
def purge(db: Database, people: Identities) -> Iterator[Callable[..., JobResult]]:
    clock = FixedClock(NOW)
    job = PurgeExpired(db, clock, RULES)
    service = pb.DESCRIPTOR.services_by_name["AuthJobsService"]
    worker = ServiceProcess({service: AuthJobsServicer(job)}, people.verifier(), FakeAccess(), FakeAuditTrail())
    with running(worker) as server, stub_channel(server) as channel:
        stub = jobs_pb2_grpc.AuthJobsServiceStub(channel)
        scheduler = people.service_headers("scheduler")
        yield lambda who=scheduler: stub.PurgeExpired(pb.PurgeExpiredRequest(), metadata=who)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def add_person(add: Add) -> object:
    return add("users", id=new_id(), email="a@example.com", name="Ada", created_at=NOW, updated_at=NOW)


def test_sessions_and_their_tokens_are_purged_a_month_after_their_end(add: Add, left: Left, purge) -> None:
    user_id = add_person(add)
    rows = {
        "ended long ago": (ago(60), ago(40), ago(30.1)),
        "ended lately": (ago(60), ago(30), ago(29.9)),
        "idle": (ago(60), ago(31.1), None),
        "in use": (ago(60), ago(30.9), None),
        "never refreshed": (ago(31.1), None, None),
        "new": (ago(1), None, None),
    }
    for name, (created_at, refreshed_at, ended_at) in rows.items():
        session_id = add(
            "sessions", id=new_id(), user_id=user_id, user_agent=name,
            created_at=created_at, refreshed_at=refreshed_at, ended_at=ended_at,
        )  # fmt: skip
        add("refresh_tokens", hash=name.encode(), session_id=session_id, created_at=created_at)
    result = purge()
    assert result.success
    assert (result.stats.total, result.stats.success_count) == (KINDS, KINDS)
    kept = {"ended lately", "in use", "new"}
    assert left("sessions.user_agent") == kept
    assert left("refresh_tokens.hash") == {name.encode() for name in kept}


def test_links_invitations_and_mails_are_purged_after_their_retention(add: Add, left: Left, purge) -> None:
    user_id = add_person(add)
    organization_id = add(
        "organizations", id=new_id(), name="Acme", kind="ADVERTISER", owner_id=user_id, created_at=NOW, updated_at=NOW
    )
    add("roles", code="owner", name="Owner", description="")
    for name, days, used_at in (("old", 30.1, None), ("old, used", 30.1, ago(35)), ("kept", 29.9, ago(35))):
        add(
            "links", id=new_id(), purpose="INVITATION", subject_id=new_id(), email=name,
            created_at=ago(40), expires_at=ago(days), used_at=used_at,
        )  # fmt: skip
    for name, days, accepted_at in (("old", 30.1, None), ("accepted", 30.1, ago(33)), ("kept", 29.9, None)):
        add(
            "invitations", id=new_id(), organization_id=organization_id, email=name, role_code="owner",
            invited_by=user_id, created_at=ago(40), expires_at=ago(days), accepted_at=accepted_at,
        )  # fmt: skip
    for name, days in (("old", 7.1), ("kept", 6.9)):
        add(
            "outgoing_mails", id=new_id(), kind="VERIFY_EMAIL", recipient=name, parameters="{}",
            created_at=ago(days), next_try_at=NOW,
        )  # fmt: skip
    assert purge().success
    assert left("links.email") == {"kept"}
    assert left("invitations.email") == {"accepted", "kept"}
    assert left("outgoing_mails.recipient") == {"kept"}


def test_documents_idempotency_keys_and_events_are_purged_in_batches(add: Add, left: Left, purge) -> None:
    for number in range(250):
        add("inbox", consumer=f"{number}", event_id=new_id(), processed_at=ago(30.1))
    add("inbox", consumer="kept", event_id=new_id(), processed_at=ago(29.9))
    for key, days in (("old", 30.1), ("kept", 29.9)):
        add("idempotency_keys", organization_id=new_id(), method="m", key=key, request_hash=b"h", created_at=ago(days))
    for id, expires_at in (("old", NOW), ("later", NOW + timedelta(seconds=1)), ("kept", None)):
        add("documents", collection="c", id=id, data="{}", version=1, expires_at=expires_at)
    assert purge().success
    assert left("inbox.consumer") == {"kept"}
    assert left("idempotency_keys.key") == {"kept"}
    assert left("documents.id") == {"later", "kept"}


def test_failed_rule_does_not_stop_other_rules(add: Add, left: Left, purge, sql: psycopg.Connection) -> None:
    add("inbox", consumer="old", event_id=new_id(), processed_at=ago(31))
    sql.execute("ALTER TABLE links RENAME TO gone")
    result = purge()
    assert not result.success
    assert (result.stats.total, result.stats.error_count) == (KINDS, 1)
    assert not left("inbox.consumer")


def test_purge_job_requires_scheduler_or_operator(purge, people: Identities) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        purge(people.headers(people.person()))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_index_migration_rolls_back_with_rows(add: Add, left: Left, database_url: str) -> None:
    add(
        "outgoing_mails", id=new_id(), kind="VERIFY_EMAIL", recipient="ada", parameters="{}",
        created_at=ago(1), next_try_at=NOW,
    )  # fmt: skip
    with rolled_back(database_url, "auth_service", "auth-0012"):
        assert left("pg_indexes.indexname") & {"outgoing_mails_made", "invitations_expired"} == set()
    assert left("pg_indexes.indexname") >= {"outgoing_mails_made", "invitations_expired"}
    assert left("outgoing_mails.recipient") == {"ada"}
