"""The rate limits, on a real Redis."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import redis

from adlib.clock import FixedClock
from adlib.deadline import deadline
from adlib.errors import Aborted, DeadlineExceeded, Unavailable
from adlib.service import connect_redis
from auth_service.credentials.model import PasswordWeak
from auth_service.rate_limits.service import AttemptLimiter, TooManyAttempts, TooManyInvitations

ACME, EVE = UUID(int=1), UUID(int=2)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def shared(redis_url: str) -> Iterator[redis.Redis]:
    with connect_redis(redis_url) as client:
        yield client


@pytest.fixture
def limiter(shared: redis.Redis, clock: FixedClock) -> AttemptLimiter:
    return AttemptLimiter(shared, clock)


def wait_s(limiter: AttemptLimiter, email: str = "ada@example.com", address: str = "") -> float:
    """The wait before the next guess, in seconds; makes a wrong guess if there is none."""
    try:
        guess(limiter, email, address)
    except TooManyAttempts as refused:
        return refused.retry_after_s or 0
    return 0


def guess(limiter: AttemptLimiter, email: str, address: str = "") -> None:
    with limiter.password_attempt(email, address) as attempt:
        attempt.fail()


def sign_in(limiter: AttemptLimiter, email: str, address: str = "") -> None:
    with limiter.password_attempt(email, address) as attempt:
        attempt.succeed()


def later(clock: FixedClock, seconds: float) -> None:
    clock.at += timedelta(seconds=seconds)


def test_waits_grow_after_ten_free_attempts(limiter: AttemptLimiter, clock: FixedClock) -> None:
    assert [wait_s(limiter) for _ in range(10)] == [0] * 10
    for wait in (1, 2, 4, 8, 16):
        assert wait_s(limiter) == wait
        later(clock, wait - 0.5)
        assert wait_s(limiter) == 0.5
        later(clock, 0.5)
        assert wait_s(limiter) == 0
    assert wait_s(limiter) == 15 * 60
    later(clock, 15 * 60 - 1)
    # A refused attempt does not prolong the wait.
    assert wait_s(limiter) == 1
    later(clock, 1)
    assert [wait_s(limiter) for _ in range(10)] == [0] * 10


def test_counter_resets_after_fifteen_minutes_without_attempts(limiter: AttemptLimiter, clock: FixedClock) -> None:
    for _ in range(3):
        assert [wait_s(limiter) for _ in range(10)] == [0] * 10
        later(clock, 15 * 60)


def test_success_and_password_reset_clear_the_account_counter(limiter: AttemptLimiter) -> None:
    assert [wait_s(limiter) for _ in range(10)] == [0] * 10
    assert wait_s(limiter) > 0
    limiter.reset_account("ada@example.com")
    assert [wait_s(limiter) for _ in range(9)] == [0] * 9
    sign_in(limiter, "ada@example.com")
    assert [wait_s(limiter) for _ in range(10)] == [0] * 10
    assert wait_s(limiter) > 0


def test_address_is_limited_across_accounts(limiter: AttemptLimiter) -> None:
    assert [wait_s(limiter, f"{number}@example.com", "192.0.2.7") for number in range(100)] == [0] * 100
    assert wait_s(limiter, "another@example.com", "192.0.2.7") == 1
    # Attempts refused for the address are not counted for the account.
    assert [wait_s(limiter, "another@example.com", "192.0.2.8") for _ in range(10)] == [0] * 10


def test_address_limit_on_guesses_does_not_limit_reset_mail(limiter: AttemptLimiter) -> None:
    for number in range(100):
        guess(limiter, f"{number}@example.com", "192.0.2.1")
    assert wait_s(limiter, address="192.0.2.1") > 0
    limiter.count_mail("ada@example.com", "192.0.2.1")


def test_ipv6_addresses_of_one_network_share_a_counter(limiter: AttemptLimiter) -> None:
    for number in range(100):
        assert wait_s(limiter, f"{number}@example.com", f"2001:db8::{number:x}") == 0
    assert wait_s(limiter, "another@example.com", "2001:db8::ffff:1") == 1
    for other in ("2001:db8:0:1::1", "::ffff:192.0.2.7", "fe80::1%eth0"):
        assert wait_s(limiter, "another@example.com", other) == 0


def test_success_does_not_reset_address_counter(limiter: AttemptLimiter) -> None:
    for number in range(100):
        assert wait_s(limiter, f"{number}@example.com", "192.0.2.7") == 0
        if number < 99:
            sign_in(limiter, "eve@example.com", "192.0.2.7")
    assert wait_s(limiter, "eve@example.com", "192.0.2.7") == 1


def test_concurrent_guesses_are_limited_to_the_free_ones(limiter: AttemptLimiter) -> None:
    with ThreadPoolExecutor(16) as threads:
        allowed = list(threads.map(lambda _: wait_s(limiter) == 0, range(64)))
    assert allowed.count(True) == 10


def test_concurrent_successes_do_not_limit_each_other(limiter: AttemptLimiter) -> None:
    ten_at_once = threading.Barrier(10)

    def right(_: int) -> None:
        with limiter.password_attempt("ada@example.com", "192.0.2.7") as attempt:
            ten_at_once.wait(5)
            attempt.succeed()

    with ThreadPoolExecutor(40) as threads:
        list(threads.map(right, range(120)))
    assert [wait_s(limiter) for _ in range(10)] == [0] * 10


def test_guesses_are_serialized_once_they_must_wait(limiter: AttemptLimiter, clock: FixedClock) -> None:
    assert [wait_s(limiter) for _ in range(10)] == [0] * 10
    later(clock, 1)
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(lambda _: wait_s(limiter), range(64))).count(0) == 1
    later(clock, 2)
    with ThreadPoolExecutor(2) as threads, limiter.password_attempt("ada@example.com", "") as attempt:
        waiting = threads.submit(sign_in, limiter, "ada@example.com")
        with pytest.raises(TimeoutError):
            waiting.result(0.1)
        attempt.succeed()
        waiting.result(5)


def test_unsettled_attempt_is_not_counted(limiter: AttemptLimiter) -> None:
    for _ in range(40):
        with pytest.raises(Unavailable), limiter.password_attempt("ada@example.com", "192.0.2.7"):
            raise Unavailable("the database does not answer")
    assert [wait_s(limiter) for _ in range(10)] == [0] * 10
    assert wait_s(limiter) > 0


def test_unsettled_attempt_expires_with_its_lease(limiter: AttemptLimiter, clock: FixedClock) -> None:
    with ExitStack() as died:
        lost = [died.enter_context(limiter.password_attempt("ada@example.com", "")) for _ in range(10)]
        later(clock, 61)
        assert [wait_s(limiter) for _ in range(9)] == [0] * 9
        # Its guess was not counted, so its result must not be returned.
        with pytest.raises(Unavailable):
            lost[0].fail()
        with pytest.raises(Unavailable):
            lost[1].succeed()
        assert wait_s(limiter) == 0
        assert wait_s(limiter) == 1


def test_attempt_that_waits_too_long_is_not_counted(limiter: AttemptLimiter) -> None:
    until = deadline.set(time.monotonic() + 1.2)
    with ExitStack() as under_way:
        for _ in range(10):
            under_way.enter_context(limiter.password_attempt("ada@example.com", ""))
        with pytest.raises(Unavailable):
            guess(limiter, "ada@example.com")
    deadline.reset(until)
    assert [wait_s(limiter) for _ in range(10)] == [0] * 10


@pytest.mark.parametrize("error", [Unavailable("down"), Aborted("changing"), DeadlineExceeded("late"), OSError("bug")])
def test_mail_that_failed_by_platform_fault_is_not_counted(limiter: AttemptLimiter, error: Exception) -> None:
    for _ in range(20):
        with pytest.raises(type(error)), limiter.count_mail("ada@example.com", "192.0.2.7"):
            raise error
        with pytest.raises(type(error)), limiter.count_invitation("ada@example.com", ACME, EVE):
            raise error
    for _ in range(5):
        limiter.count_mail("ada@example.com", "192.0.2.7")
        limiter.count_invitation("ada@example.com", ACME, EVE)
    with pytest.raises(TooManyAttempts):
        limiter.count_mail("ada@example.com", "192.0.2.7")
    with pytest.raises(TooManyAttempts):
        limiter.count_invitation("ada@example.com", ACME, EVE)


def test_invitations_per_hour_are_limited_across_mailboxes(limiter: AttemptLimiter, clock: FixedClock) -> None:
    def invite(organization_id: UUID, user_id: UUID) -> None:
        limiter.count_invitation(f"{uuid4()}@example.com", organization_id, user_id)

    def wait(organization_id: UUID, user_id: UUID) -> float | None:
        with pytest.raises(TooManyInvitations) as refused:
            invite(organization_id, user_id)
        assert refused.value.metadata == {"limit": "100"}
        return refused.value.retry_after_s

    for _ in range(60):
        invite(ACME, EVE)
    later(clock, 1800)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda _: invite(ACME, EVE), range(40)))
    # Also for other members and other organizations; the wait ends when the first invitation is an hour old.
    assert (wait(ACME, EVE), wait(ACME, uuid4()), wait(uuid4(), EVE)) == (1800, 1800, 1800)
    invite(uuid4(), uuid4())
    later(clock, 1799)
    assert wait(ACME, EVE) == 1
    later(clock, 1)
    for _ in range(60):
        invite(ACME, EVE)
    assert wait(ACME, EVE) == 1800


def test_invitation_refused_for_its_mailbox_is_not_counted_for_its_sender(limiter: AttemptLimiter) -> None:
    for _ in range(5):
        limiter.count_invitation("ada@example.com", ACME, EVE)
    for _ in range(200):
        with pytest.raises(TooManyAttempts):
            limiter.count_invitation("ada@example.com", ACME, EVE)
    limiter.count_invitation("another@example.com", ACME, EVE)


def test_caller_errors_are_counted(limiter: AttemptLimiter) -> None:
    for _ in range(1000):
        with pytest.raises(PasswordWeak), limiter.count_sign_up("192.0.2.7"):
            raise PasswordWeak("password", "")
    with pytest.raises(TooManyAttempts):
        limiter.count_sign_up("192.0.2.7")


def test_unauthenticated_mail_has_its_own_hourly_limit(limiter: AttemptLimiter, clock: FixedClock) -> None:
    for _ in range(5):
        limiter.count_mail("ada@example.com", "")
    for wait in (1, 2, 4, 8, 16):
        with pytest.raises(TooManyAttempts):
            limiter.count_mail("ada@example.com", "")
        later(clock, wait)
        limiter.count_mail("ada@example.com", "")
    with pytest.raises(TooManyAttempts) as refused:
        limiter.count_mail("ada@example.com", "")
    assert refused.value.retry_after_s == 3600
    assert wait_s(limiter) == 0


def test_redis_keys_are_hashed_and_expire(limiter: AttemptLimiter, shared: redis.Redis) -> None:
    guess(limiter, "ada@example.com", "192.0.2.7")
    limiter.count_mail("ada@example.com", "192.0.2.7")
    with limiter.password_attempt("ada@example.com", "192.0.2.7"):
        keys = list(shared.scan_iter("attempts:*"))
    assert len(keys) == 6
    assert not any(b"ada" in key or b"192" in key for key in keys)
    keys = list(shared.scan_iter("attempts:*"))
    assert len(keys) == 4
    assert all(0 < shared.ttl(key) <= 3600 for key in keys)


def test_attempts_are_refused_without_redis(clock: FixedClock) -> None:
    cut_off = AttemptLimiter(connect_redis("redis://127.0.0.1:1/0"), clock)
    with pytest.raises(Unavailable):
        guess(cut_off, "ada@example.com")
