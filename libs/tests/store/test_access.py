"""Access is cached, changes are seen within a second, and nothing is ever open."""

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
    """A Redis that auth-service has just told of everything."""
    with connect_redis(redis_url) as shared:
        access.mark_cache_current(shared, access.redis_time_ms(shared) + 60_000)
        yield shared


class CountedAccess(FakeAccess):
    """Counts how often the source is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def access(self, person: Person, organization_id: UUID | None) -> Access:
        self.asked += 1
        return super().access(person, organization_id)


def test_the_source_is_asked_once(redis_url: str) -> None:
    source, person, organization = CountedAccess(), Identities().person(), uuid4()
    source.grant(person, organization, *MEMBER)
    with trusted(redis_url) as shared:
        cached, elsewhere = CachedAccess(source, shared), CachedAccess(source, shared)
        assert cached.access(person, organization) == elsewhere.access(person, organization)
        assert cached.access(person, organization).is_member
    assert source.asked == 1


def test_a_change_and_the_end_of_a_session_are_seen_within_a_second(redis_url: str) -> None:
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


def test_a_standing_read_before_a_change_is_not_kept_after_it(redis_url: str) -> None:
    person, organization = Identities().person(), uuid4()
    with trusted(redis_url) as shared:

        class Overtaken(CountedAccess):
            """The standing changes after it was read and before it is kept."""

            def access(self, person: Person, organization_id: UUID | None) -> Access:
                read = super().access(person, organization_id)
                access.invalidate(shared, access.organization_changed(organization))
                return read

        source = Overtaken()
        source.grant(person, organization, *MEMBER)
        CachedAccess(source, shared).access(person, organization)
        source.grant(person, organization, 1)
        assert CachedAccess(source, shared).access(person, organization).permissions == 0


def test_a_redis_that_may_have_lost_what_it_was_told_is_not_believed(redis_url: str) -> None:
    source, person, organization = CountedAccess(), Identities().person(), uuid4()
    source.grant(person, organization, *MEMBER)
    with trusted(redis_url) as shared:
        CachedAccess(source, shared).access(person, organization)
        access.invalidate(shared, access.EVERYTHING_CHANGED)
        CachedAccess(source, shared).access(person, organization)
    assert source.asked == 2


def test_calls_do_not_wait_for_a_frozen_redis_one_after_the_other(tmp_path: Path) -> None:
    source, person, organization = CountedAccess(), Identities().person(), uuid4()
    source.grant(person, organization, *MEMBER)
    breaker = CircuitBreaker("redis-test")
    with (
        ValkeyServer(tmp_path, fsync=False) as valkey,
        trusted(valkey.url()),
        connect_redis_for_calls(valkey.url(), breaker) as shared,
    ):

        def ask() -> float:
            """As a process does that remembers nothing; how long it took."""
            began = time.monotonic()
            assert CachedAccess(source, shared).access(person, organization).is_member
            return time.monotonic() - began

        ask()
        ask()
        assert source.asked == 1, "the cache is used"
        with frozen(valkey):
            assert max(ask(), ask()) < 1.0
            assert breaker.is_open
            # Every one of them is refused, and none waits to find that Redis does not answer.
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
    """It accepts connections and answers none."""
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


def test_without_redis_the_source_is_asked_and_a_stranger_stays_out() -> None:
    source, person, organization = CountedAccess(), Identities().person(), uuid4()
    source.grant(person, organization, *MEMBER)
    with connect_redis("redis://127.0.0.1:1/0") as nobody:
        cached = CachedAccess(source, nobody)
        assert cached.access(person, organization).is_member
        assert not cached.access(Identities().person(), organization).is_member


def test_without_redis_and_source_nobody_gets_in() -> None:
    class Down(FakeAccess):
        def access(self, person: Person, organization_id: UUID | None) -> Access:
            raise Unavailable("auth-service does not answer")

    with connect_redis("redis://127.0.0.1:1/0") as nobody, pytest.raises(Unavailable):
        CachedAccess(Down(), nobody).access(Identities().person(), uuid4())


def test_a_proven_email_is_seen_by_every_process_within_a_second(redis_url: str) -> None:
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


def test_what_redis_keeps_says_whether_the_email_is_proven(redis_url: str) -> None:
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
