"""The caches of access: changes take effect within 1 s, and failures never grant access."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import redis
from prometheus_client import REGISTRY

from adctl.embedded.valkey import ValkeyServer
from adlib import access
from adlib.access import Access, CachedAccess
from adlib.breaker import CircuitBreaker
from adlib.errors import TokenInvalid, Unavailable
from adlib.identity import Person
from adlib.service import connect_redis, connect_redis_for_calls
from adtesting import FakeAccess, Identities, eventually

MEMBER = (1, 110_100)


@contextmanager
def trusted(redis_url: str) -> Iterator[redis.Redis]:
    """A Redis that has every invalidation."""
    with connect_redis(redis_url) as shared:
        access.mark_cache_current(shared, access.redis_time_ms(shared) + 60_000)
        yield shared


class CountedAccess(FakeAccess):
    """Counts the calls of the source."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def access(self, person: Person, organization_id: UUID | None) -> Access:
        self.asked += 1
        return super().access(person, organization_id)


def test_access_is_loaded_once(redis_url: str) -> None:
    source, person, organization = CountedAccess(), Identities().person(), uuid4()
    source.grant(person, organization, *MEMBER)
    with trusted(redis_url) as shared:
        cached, elsewhere = CachedAccess(source, shared), CachedAccess(source, shared)
        assert cached.access(person, organization) == elsewhere.access(person, organization)
        assert cached.access(person, organization).is_member
    assert source.asked == 1


def test_change_and_session_end_take_effect_within_one_second(redis_url: str) -> None:
    source, person, organization = CountedAccess(), Identities().person(), uuid4()
    source.grant(person, organization, *MEMBER)
    with trusted(redis_url) as shared:
        cached = CachedAccess(source, shared)
        cached.access(person, organization)
        source.grant(person, organization, 1)
        access.invalidate(shared, access.organization_changed(organization))
        assert eventually(lambda: cached.access(person, organization).permissions == 0, within_s=1.0)
        access.invalidate(shared, access.session_ended(person.session_id))

        def has_ended() -> bool:
            try:
                cached.access(person, organization)
            except TokenInvalid:
                return True
            return False

        assert eventually(has_ended, within_s=1.0)


def test_access_read_before_a_change_is_not_cached_after_it(redis_url: str) -> None:
    person, organization = Identities().person(), uuid4()
    with trusted(redis_url) as shared:

        class Overtaken(CountedAccess):
            """A source whose access changes after it was read and before it is cached."""

            def access(self, person: Person, organization_id: UUID | None) -> Access:
                read = super().access(person, organization_id)
                access.invalidate(shared, access.organization_changed(organization))
                return read

        source = Overtaken()
        source.grant(person, organization, *MEMBER)
        CachedAccess(source, shared).access(person, organization)
        source.grant(person, organization, 1)
        assert CachedAccess(source, shared).access(person, organization).permissions == 0


def test_redis_that_may_lack_invalidations_is_not_used(redis_url: str) -> None:
    source, person, organization = CountedAccess(), Identities().person(), uuid4()
    source.grant(person, organization, *MEMBER)
    with trusted(redis_url) as shared:
        CachedAccess(source, shared).access(person, organization)
        access.invalidate(shared, access.EVERYTHING_CHANGED)
        CachedAccess(source, shared).access(person, organization)
    assert source.asked == 2


def test_only_the_first_calls_wait_for_a_frozen_redis(tmp_path: Path) -> None:
    source, person, organization = CountedAccess(), Identities().person(), uuid4()
    source.grant(person, organization, *MEMBER)
    breaker = CircuitBreaker("redis-test")
    with (
        ValkeyServer(tmp_path, fsync=False) as valkey,
        trusted(valkey.url()),
        connect_redis_for_calls(valkey.url(), breaker) as shared,
    ):

        def ask() -> float:
            """Loads access without a local cache; returns the time that it took."""
            began = time.monotonic()
            assert CachedAccess(source, shared).access(person, organization).is_member
            return time.monotonic() - began

        ask()
        ask()
        assert source.asked == 1, "the cache is used"
        with frozen(valkey):
            assert max(ask(), ask()) < 1.0
            assert breaker.is_open
            # All are refused by the circuit breaker, and none waits for Redis.
            failed, refused = redis_failures(), refusals("redis-test")
            for _ in range(50):
                ask()
            assert redis_failures() - failed == refusals("redis-test") - refused == 50
            assert source.asked == 53
        assert eventually(lambda: not breaker.is_open, within_s=2.0), "without a call"
        ask()
        assert source.asked == 53, "the cache is used again"


@contextmanager
def frozen(valkey: ValkeyServer) -> Iterator[None]:
    """Valkey accepts connections and does not answer."""
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(valkey.pid, signal.SIGCONT)


def redis_failures() -> float:
    return REGISTRY.get_sample_value("access_cache_failures_total") or 0


def refusals(name: str) -> float:
    return REGISTRY.get_sample_value("circuit_refused_total", {"name": name}) or 0


def test_without_redis_access_is_loaded_from_the_source() -> None:
    source, person, organization = CountedAccess(), Identities().person(), uuid4()
    source.grant(person, organization, *MEMBER)
    with connect_redis("redis://127.0.0.1:1/0") as unreachable:
        cached = CachedAccess(source, unreachable)
        assert cached.access(person, organization).is_member
        assert not cached.access(Identities().person(), organization).is_member


def test_without_redis_and_source_access_is_denied() -> None:
    class Down(FakeAccess):
        def access(self, person: Person, organization_id: UUID | None) -> Access:
            raise Unavailable("auth-service does not answer")

    with connect_redis("redis://127.0.0.1:1/0") as unreachable, pytest.raises(Unavailable):
        CachedAccess(Down(), unreachable).access(Identities().person(), uuid4())


def test_verified_email_takes_effect_in_every_process_within_one_second(redis_url: str) -> None:
    source, person, organization = CountedAccess(), Identities().person(), uuid4()
    source.grant(person, organization, *MEMBER, email_verified=False)
    with trusted(redis_url) as shared:
        cached, elsewhere = CachedAccess(source, shared), CachedAccess(source, shared)
        assert [one.access(person, organization).email_verified for one in (cached, elsewhere)] == [False, False]
        source.grant(person, organization, *MEMBER, email_verified=True)

        def is_verified(one: CachedAccess) -> bool:
            return one.access(person, organization).email_verified

        access.invalidate(shared, access.organization_changed(organization))
        for one in (cached, elsewhere):
            assert eventually(partial(is_verified, one), within_s=1.0)


def test_cached_access_includes_the_verified_email(redis_url: str) -> None:
    source, organization = CountedAccess(), uuid4()
    verified, unverified = Identities().person(), Identities().person()
    source.grant(verified, organization, *MEMBER)
    source.grant(unverified, organization, *MEMBER, email_verified=False)
    with trusted(redis_url) as shared:
        for person in (verified, unverified):
            CachedAccess(source, shared).access(person, organization)
        source.asked = 0
        assert CachedAccess(source, shared).access(verified, organization) == Access(True, 1, 1, email_verified=True)
        assert CachedAccess(source, shared).access(unverified, organization) == Access(True, 1, 1, email_verified=False)
    assert source.asked == 0
