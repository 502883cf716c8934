"""Callers' permissions from the tables, and how changes invalidate the shared cache."""

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
import redis
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.options.v1.options_pb2 import Permission

from adctl.embedded.valkey import ValkeyServer
from adlib import access
from adlib.access import NO_ACCESS, CachedAccess, SessionEnded
from adlib.clock import SystemClock
from adlib.db import Database
from adlib.identity import Person
from adlib.ids import new_id
from adlib.permissions import codes
from adlib.service import connect_redis, connect_redis_for_calls
from adtesting import eventually
from auth_service.access.service import AccessService
from auth_service.invalidations.service import CacheInvalidations
from auth_service.invalidations.tasks import InvalidationRelay


@dataclass
class Rows:
    """Inserts rows as the use cases would."""

    url: str

    def execute(self, statement: str, *parameters: object) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode(), parameters)

    def member(self, role: str, kind: str = "ADVERTISER") -> tuple[Person, UUID]:
        """A signed-in user with this role in an organization of this kind."""
        person, organization, now = Person(uuid4(), uuid4()), uuid4(), datetime.now(UTC)
        self.execute("INSERT INTO users VALUES (%s, %s, 'Ada', %s, %s)", person.user_id, f"{uuid4()}@x.test", now, now)
        self.execute(
            "INSERT INTO organizations VALUES (%s, 'Acme', %s, %s, %s, %s)",
            organization,
            kind,
            person.user_id,
            now,
            now,
        )
        self.execute("INSERT INTO user_roles VALUES (%s, %s, %s, %s)", person.user_id, organization, role, now)
        self.execute(
            "INSERT INTO sessions (id, user_id, created_at) VALUES (%s, %s, %s)", person.session_id, person.user_id, now
        )
        return person, organization

    def key(self, person: Person, organization: UUID, hash: bytes, **changes: object) -> None:
        columns = {
            "id": uuid4(), "organization_id": organization, "user_id": person.user_id, "name": "k", "prefix": "adk_x",
            "hash": hash, "permissions": [int(Permission.CAMPAIGNS_READ)], "allowed_cidrs": ["192.0.2.0/24"],
            "created_at": datetime.now(UTC),
        } | changes  # fmt: skip
        self.execute(
            f"INSERT INTO api_keys ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})",  # noqa: S608 - the names are ours
            *columns.values(),
        )


@pytest.fixture
def rows(database_url: str) -> Rows:
    return Rows(database_url)


@pytest.fixture
def shared(redis_url: str) -> Iterator[redis.Redis]:
    with connect_redis(redis_url) as client:
        yield client


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    yield made
    made.close()


@pytest.fixture
def relay(db: Database, shared: redis.Redis) -> InvalidationRelay:
    made = InvalidationRelay(db, shared, threading.Event())
    assert made.send_pending() == 1, "the roles were seeded"
    shared.delete(access.EVERYTHING_CHANGED.key)
    return made


@pytest.fixture
def service(db: Database) -> AccessService:
    return AccessService(db, SystemClock())


def test_role_grants_at_most_the_permissions_of_the_organization_kind(rows: Rows, service: AccessService) -> None:
    person, organization = rows.member("manager", kind="PUBLISHER")
    granted = service.access(person, organization)
    assert granted.kind == Organization.PUBLISHER
    assert Permission.ANALYTICS_READ in codes(granted.permissions)
    assert Permission.CAMPAIGNS_CREATE not in codes(granted.permissions)


def test_admin_role_grants_admin_full_only_in_the_platform(rows: Rows, service: AccessService) -> None:
    person, organization = rows.member("admin")
    assert Permission.ADMIN_FULL not in codes(service.access(person, organization).permissions)


def test_access_of_api_key_user_needs_no_session(rows: Rows, service: AccessService) -> None:
    person, organization = rows.member("member")
    rows.execute("UPDATE sessions SET ended_at = now()")
    assert service.access(Person(person.user_id), organization).is_member
    assert service.access(Person(person.user_id), uuid4()) == NO_ACCESS
    with pytest.raises(SessionEnded):
        service.access(person, organization)


def test_access_without_session_and_organization_is_refused(rows: Rows, service: AccessService) -> None:
    person, _ = rows.member("member")
    with pytest.raises(SessionEnded):
        service.access(Person(person.user_id), None)


def test_api_key_is_found_by_hash_until_revoked_or_expired(rows: Rows, service: AccessService) -> None:
    person, organization = rows.member("member")
    now = datetime.now(UTC)
    rows.key(person, organization, b"1" * 32)
    rows.key(person, organization, b"2" * 32, revoked_at=now)
    rows.key(person, organization, b"3" * 32, expires_at=now - timedelta(seconds=1))
    found = service.api_key(b"1" * 32)
    assert found is not None
    assert (found.user_id, found.organization_id, codes(found.permissions), found.networks) == (
        person.user_id, organization, [Permission.CAMPAIGNS_READ], (ip_network("192.0.2.0/24"),)
    )  # fmt: skip
    assert [service.api_key(hash * 32) for hash in (b"2", b"3", b"4")] == [None, None, None]


def test_api_key_use_is_recorded(rows: Rows, service: AccessService, database_url: str) -> None:
    person, organization = rows.member("member")
    rows.key(person, organization, b"1" * 32)
    service.api_key(b"1" * 32)
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT last_used_at FROM api_keys").fetchone()
    assert row is not None
    assert abs(row[0] - datetime.now(UTC)) < timedelta(minutes=1)


def test_invalidation_is_sent_after_commit(db: Database, relay: InvalidationRelay, shared: redis.Redis) -> None:
    invalidations, organization = CacheInvalidations(new_id), uuid4()
    with db.transaction() as tx:
        invalidations.organization_changed(tx, organization)
        assert not invalidations.added.is_set()
        assert relay.send_pending() == 0
    assert invalidations.added.is_set()
    assert (relay.send_pending(), relay.send_pending()) == (1, 0)
    assert shared.get(access.organization_changed(organization).key) == b"1"


def test_rolled_back_change_sends_no_invalidation(db: Database, relay: InvalidationRelay) -> None:
    invalidations = CacheInvalidations(new_id)

    class RolledBack(Exception):
        pass

    with pytest.raises(RolledBack), db.transaction() as tx:
        invalidations.organization_changed(tx, uuid4())
        raise RolledBack
    assert (invalidations.added.is_set(), relay.send_pending()) == (False, 0)


def test_cache_with_pending_invalidations_is_not_trusted(
    rows: Rows, db: Database, relay: InvalidationRelay, shared: redis.Redis, service: AccessService
) -> None:
    person, organization = rows.member("member")
    access.mark_cache_current(shared, access.redis_time_ms(shared) + 60_000)
    assert CachedAccess(service, shared).access(person, organization).is_member
    rows.execute("UPDATE sessions SET ended_at = now()")
    assert CachedAccess(service, shared).access(person, organization).is_member, "the old answer is trusted"
    shared.delete("all-changes-told")
    with pytest.raises(SessionEnded):
        CachedAccess(service, shared).access(person, organization)
    with db.transaction() as tx:
        CacheInvalidations(new_id).session_ended(tx, person.session_id)
    assert relay.send_pending() == 1
    with pytest.raises(SessionEnded):
        CachedAccess(service, shared).access(person, organization)


def test_redis_is_invalidated_entirely_after_outage(
    db: Database, relay: InvalidationRelay, shared: redis.Redis
) -> None:
    class RecoveredRedis(redis.Redis):
        """Fails once."""

        failed = False

        def time(self) -> tuple[int, int]:
            if not self.failed:
                self.failed = True
                raise redis.ConnectionError
            return shared.time()

    recovered = RecoveredRedis(connection_pool=shared.connection_pool)
    stop = threading.Event()
    thread = threading.Thread(target=InvalidationRelay(db, recovered, threading.Event()).run, args=[stop])
    thread.start()
    try:
        assert eventually(lambda: shared.ttl(access.EVERYTHING_CHANGED.key) > 60)
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path, fsync=False) as server:
        yield server


def test_restarted_redis_is_invalidated_entirely(db: Database, valkey: ValkeyServer) -> None:
    with connect_redis(valkey.url()) as shared:
        relay = InvalidationRelay(db, shared, threading.Event())
        relay.send_pending()
        shared.delete(access.EVERYTHING_CHANGED.key)
        relay.send_pending()
        assert shared.get(access.EVERYTHING_CHANGED.key) is None
        valkey.kill()
        valkey.start()
        relay.send_pending()
        assert shared.ttl(access.EVERYTHING_CHANGED.key) > 60


def test_unfrozen_redis_is_trusted_at_once(db: Database, valkey: ValkeyServer) -> None:
    with connect_redis(valkey.url()) as shared, connect_redis_for_calls(valkey.url()) as impatient:
        relay = InvalidationRelay(db, impatient, threading.Event())
        relay.send_pending()
        shared.delete(access.EVERYTHING_CHANGED.key)
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            with pytest.raises(redis.TimeoutError):
                relay.send_pending()
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        assert eventually(lambda: relay.send_pending() == 0)
        assert shared.get("all-changes-told") == b"1"
        assert shared.get(access.EVERYTHING_CHANGED.key) is None


def test_late_confirmation_does_not_make_cache_current(shared: redis.Redis) -> None:
    access.mark_cache_current(shared, access.redis_time_ms(shared) - 1_000)
    assert shared.get("all-changes-told") is None


def test_session_without_cached_evidence_is_looked_up(rows: Rows, shared: redis.Redis, service: AccessService) -> None:
    """An invalidation lost with Redis' memory revives no session, even after another session has filled the cache."""
    person, organization = rows.member("member")
    access.mark_cache_current(shared, access.redis_time_ms(shared) + 60_000)
    other = Person(person.user_id, uuid4())
    assert CachedAccess(service, shared).access(person, organization).is_member
    with pytest.raises(SessionEnded):
        CachedAccess(service, shared).access(other, organization)


def test_revoked_api_key_is_refused_within_a_second(
    rows: Rows, db: Database, relay: InvalidationRelay, shared: redis.Redis, service: AccessService
) -> None:
    person, organization = rows.member("member")
    rows.key(person, organization, b"1" * 32)
    cached = CachedAccess(service, shared)
    assert cached.api_key(b"1" * 32) is not None
    rows.execute("UPDATE api_keys SET revoked_at = now()")
    with db.transaction() as tx:
        CacheInvalidations(new_id).api_key_revoked(tx, b"1" * 32)
    relay.send_pending()
    assert eventually(lambda: cached.api_key(b"1" * 32) is None, within_s=1.0)
