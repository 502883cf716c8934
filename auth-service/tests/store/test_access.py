"""What callers may do, from the tables, and how the shared cache learns of changes."""

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
from auth_service.access.invalidations import CacheInvalidations, InvalidationRelay
from auth_service.access.service import AccessService


@dataclass
class People:
    """Rows as the use cases would have made them."""

    url: str

    def execute(self, statement: str, *parameters: object) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode(), parameters)

    def member(self, role: str, kind: str = "ADVERTISER") -> tuple[Person, UUID]:
        """A signed-in person with this role in an organization of this kind."""
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
def people(database_url: str) -> People:
    return People(database_url)


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
def pusher(db: Database, shared: redis.Redis) -> InvalidationRelay:
    made = InvalidationRelay(db, shared, threading.Event())
    assert made.push() == 1, "the roles were seeded"
    shared.delete(access.EVERYTHING_CHANGED.key)
    return made


@pytest.fixture
def service(db: Database) -> AccessService:
    return AccessService(db, SystemClock())


def test_a_role_grants_no_more_than_the_kind_of_organization_can_hold(people: People, service: AccessService) -> None:
    person, organization = people.member("manager", kind="PUBLISHER")
    standing = service.access(person, organization)
    assert standing.kind == Organization.PUBLISHER
    assert Permission.ANALYTICS_READ in codes(standing.permissions)
    assert Permission.CAMPAIGNS_CREATE not in codes(standing.permissions)


def test_the_administrators_role_is_nothing_outside_the_platforms_organization(
    people: People, service: AccessService
) -> None:
    person, organization = people.member("admin")
    assert Permission.ADMIN_FULL not in codes(service.access(person, organization).permissions)


def test_who_made_a_key_needs_no_session(people: People, service: AccessService) -> None:
    person, organization = people.member("member")
    people.execute("UPDATE sessions SET ended_at = now()")
    assert service.access(Person(person.user_id), organization).is_member
    assert service.access(Person(person.user_id), uuid4()) == NO_ACCESS
    with pytest.raises(SessionEnded):
        service.access(person, organization)


def test_without_a_session_and_an_organization_nobody_is_let_in(people: People, service: AccessService) -> None:
    person, _ = people.member("member")
    with pytest.raises(SessionEnded):
        service.access(Person(person.user_id), None)


def test_a_key_is_found_by_its_hash_until_it_is_revoked_or_expires(people: People, service: AccessService) -> None:
    person, organization = people.member("member")
    now = datetime.now(UTC)
    people.key(person, organization, b"1" * 32)
    people.key(person, organization, b"2" * 32, revoked_at=now)
    people.key(person, organization, b"3" * 32, expires_at=now - timedelta(seconds=1))
    found = service.api_key(b"1" * 32)
    assert found is not None
    assert (found.user_id, found.organization_id, codes(found.permissions), found.networks) == (
        person.user_id, organization, [Permission.CAMPAIGNS_READ], (ip_network("192.0.2.0/24"),)
    )  # fmt: skip
    assert [service.api_key(hash * 32) for hash in (b"2", b"3", b"4")] == [None, None, None]


def test_the_use_of_a_key_is_noted(people: People, service: AccessService, database_url: str) -> None:
    person, organization = people.member("member")
    people.key(person, organization, b"1" * 32)
    service.api_key(b"1" * 32)
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT last_used_at FROM api_keys").fetchone()
    assert row is not None
    assert abs(row[0] - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_change_is_marked_once_it_has_been_made(db: Database, pusher: InvalidationRelay, shared: redis.Redis) -> None:
    invalidations, organization = CacheInvalidations(new_id), uuid4()
    with db.transaction() as tx:
        invalidations.organization_changed(tx, organization)
        assert not invalidations.added.is_set()
        assert pusher.push() == 0
    assert invalidations.added.is_set()
    assert (pusher.push(), pusher.push()) == (1, 0)
    assert shared.get(access.organization_changed(organization).key) == b"1"


def test_a_change_that_was_not_made_is_not_marked(db: Database, pusher: InvalidationRelay) -> None:
    invalidations = CacheInvalidations(new_id)

    class GivenUp(Exception):
        pass

    with pytest.raises(GivenUp), db.transaction() as tx:
        invalidations.organization_changed(tx, uuid4())
        raise GivenUp
    assert (invalidations.added.is_set(), pusher.push()) == (False, 0)


def test_what_redis_was_not_told_of_makes_it_untrusted(
    people: People, db: Database, pusher: InvalidationRelay, shared: redis.Redis, service: AccessService
) -> None:
    person, organization = people.member("member")
    access.mark_cache_current(shared, access.redis_time_ms(shared) + 60_000)
    assert CachedAccess(service, shared).access(person, organization).is_member
    people.execute("UPDATE sessions SET ended_at = now()")
    assert CachedAccess(service, shared).access(person, organization).is_member, (
        "Redis has the old answer, and is believed"
    )
    shared.delete("all-changes-told")
    with pytest.raises(SessionEnded):
        CachedAccess(service, shared).access(person, organization)
    with db.transaction() as tx:
        CacheInvalidations(new_id).session_ended(tx, person.session_id)
    assert pusher.push() == 1
    with pytest.raises(SessionEnded):
        CachedAccess(service, shared).access(person, organization)


def test_after_an_outage_redis_is_not_believed_until_its_old_answers_are_gone(
    db: Database, pusher: InvalidationRelay, shared: redis.Redis
) -> None:
    class Back(redis.Redis):
        """Does not answer at first."""

        failed = False

        def time(self) -> tuple[int, int]:
            if not self.failed:
                self.failed = True
                raise redis.ConnectionError
            return shared.time()

    back = Back(connection_pool=shared.connection_pool)
    stop = threading.Event()
    thread = threading.Thread(target=InvalidationRelay(db, back, threading.Event()).run, args=[stop])
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


def test_a_redis_that_was_started_again_between_two_pushes_is_not_trusted(db: Database, valkey: ValkeyServer) -> None:
    with connect_redis(valkey.url()) as shared:
        pusher = InvalidationRelay(db, shared, threading.Event())
        pusher.push()
        shared.delete(access.EVERYTHING_CHANGED.key)
        pusher.push()
        assert shared.get(access.EVERYTHING_CHANGED.key) is None
        valkey.kill()
        valkey.start()
        pusher.push()
        assert shared.ttl(access.EVERYTHING_CHANGED.key) > 60


def test_a_redis_that_was_only_frozen_is_trusted_at_once(db: Database, valkey: ValkeyServer) -> None:
    with connect_redis(valkey.url()) as shared, connect_redis_for_calls(valkey.url()) as impatient:
        pusher = InvalidationRelay(db, impatient, threading.Event())
        pusher.push()
        shared.delete(access.EVERYTHING_CHANGED.key)
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            with pytest.raises(redis.TimeoutError):
                pusher.push()
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        assert eventually(lambda: pusher.push() == 0)
        assert shared.get("all-changes-told") == b"1"
        assert shared.get(access.EVERYTHING_CHANGED.key) is None


def test_a_word_that_comes_late_is_not_taken_for_true(shared: redis.Redis) -> None:
    access.mark_cache_current(shared, access.redis_time_ms(shared) - 1_000)
    assert shared.get("all-changes-told") is None


def test_a_session_without_evidence_is_asked_for(people: People, shared: redis.Redis, service: AccessService) -> None:
    """A mark that was lost with Redis' memory revives nobody, even where another session filled the cache."""
    person, organization = people.member("member")
    access.mark_cache_current(shared, access.redis_time_ms(shared) + 60_000)
    other = Person(person.user_id, uuid4())
    assert CachedAccess(service, shared).access(person, organization).is_member
    with pytest.raises(SessionEnded):
        CachedAccess(service, shared).access(other, organization)


def test_a_revoked_key_is_refused_within_a_second(
    people: People, db: Database, pusher: InvalidationRelay, shared: redis.Redis, service: AccessService
) -> None:
    person, organization = people.member("member")
    people.key(person, organization, b"1" * 32)
    cached = CachedAccess(service, shared)
    assert cached.api_key(b"1" * 32) is not None
    people.execute("UPDATE api_keys SET revoked_at = now()")
    with db.transaction() as tx:
        CacheInvalidations(new_id).api_key_revoked(tx, b"1" * 32)
    pusher.push()
    assert eventually(lambda: cached.api_key(b"1" * 32) is None, within_s=1.0)
