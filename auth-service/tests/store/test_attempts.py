"""The limit on guessing, on a real Redis."""

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
from auth_service.accounts.attempts import Attempts, TooManyAttempts, TooManyInvitations
from auth_service.accounts.model import PasswordWeak

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
def attempts(shared: redis.Redis, clock: FixedClock) -> Attempts:
    return Attempts(shared, clock)


def wait_s(attempts: Attempts, email: str = "ada@example.com", address: str = "") -> float:
    """How long the next guess must wait; makes a wrong one where it need not."""
    try:
        guess(attempts, email, address)
    except TooManyAttempts as refused:
        return refused.retry_after_s or 0
    return 0


def guess(attempts: Attempts, email: str, address: str = "") -> None:
    with attempts.at_password(email, address) as attempt:
        attempt.failed()


def sign_in(attempts: Attempts, email: str, address: str = "") -> None:
    with attempts.at_password(email, address) as attempt:
        attempt.succeeded()


def later(clock: FixedClock, seconds: float) -> None:
    clock.at += timedelta(seconds=seconds)


def test_ten_attempts_are_free_then_each_waits_longer_and_then_the_account_is_locked(
    attempts: Attempts, clock: FixedClock
) -> None:
    assert [wait_s(attempts) for _ in range(10)] == [0] * 10
    for wait in (1, 2, 4, 8, 16):
        assert wait_s(attempts) == wait
        later(clock, wait - 0.5)
        assert wait_s(attempts) == 0.5
        later(clock, 0.5)
        assert wait_s(attempts) == 0
    assert wait_s(attempts) == 15 * 60
    later(clock, 15 * 60 - 1)
    # Whoever is refused does not prolong it.
    assert wait_s(attempts) == 1
    later(clock, 1)
    assert [wait_s(attempts) for _ in range(10)] == [0] * 10


def test_attempts_fade_after_a_quarter_of_an_hour_without_one(attempts: Attempts, clock: FixedClock) -> None:
    for _ in range(3):
        assert [wait_s(attempts) for _ in range(10)] == [0] * 10
        later(clock, 15 * 60)


def test_success_and_a_new_password_release_the_account(attempts: Attempts) -> None:
    assert [wait_s(attempts) for _ in range(10)] == [0] * 10
    assert wait_s(attempts) > 0
    attempts.released("ada@example.com")
    assert [wait_s(attempts) for _ in range(9)] == [0] * 9
    sign_in(attempts, "ada@example.com")
    assert [wait_s(attempts) for _ in range(10)] == [0] * 10
    assert wait_s(attempts) > 0


def test_an_address_is_limited_however_many_accounts_it_tries(attempts: Attempts) -> None:
    assert [wait_s(attempts, f"{number}@example.com", "192.0.2.7") for number in range(100)] == [0] * 100
    assert wait_s(attempts, "another@example.com", "192.0.2.7") == 1
    # What was refused for the address does not count for the account.
    assert [wait_s(attempts, "another@example.com", "192.0.2.8") for _ in range(10)] == [0] * 10


def test_whose_neighbours_guess_can_still_ask_for_a_new_password(attempts: Attempts) -> None:
    for number in range(100):
        guess(attempts, f"{number}@example.com", "192.0.2.1")
    assert wait_s(attempts, address="192.0.2.1") > 0
    attempts.at_mail("ada@example.com", "192.0.2.1")


def test_the_addresses_of_an_ipv6_network_are_one(attempts: Attempts) -> None:
    for number in range(100):
        assert wait_s(attempts, f"{number}@example.com", f"2001:db8::{number:x}") == 0
    assert wait_s(attempts, "another@example.com", "2001:db8::ffff:1") == 1
    for other in ("2001:db8:0:1::1", "::ffff:192.0.2.7", "fe80::1%eth0"):
        assert wait_s(attempts, "another@example.com", other) == 0


def test_a_guess_is_not_forgiven_for_signing_in_with_ones_own_account(attempts: Attempts) -> None:
    for number in range(100):
        assert wait_s(attempts, f"{number}@example.com", "192.0.2.7") == 0
        if number < 99:
            sign_in(attempts, "eve@example.com", "192.0.2.7")
    assert wait_s(attempts, "eve@example.com", "192.0.2.7") == 1


def test_of_parallel_guesses_only_the_free_ones_get_through(attempts: Attempts) -> None:
    with ThreadPoolExecutor(16) as threads:
        allowed = list(threads.map(lambda _: wait_s(attempts) == 0, range(64)))
    assert allowed.count(True) == 10


def test_right_passwords_at_the_same_time_do_not_stand_in_each_others_way(attempts: Attempts) -> None:
    ten_at_once = threading.Barrier(10)

    def right(_: int) -> None:
        with attempts.at_password("ada@example.com", "192.0.2.7") as attempt:
            ten_at_once.wait(5)
            attempt.succeeded()

    with ThreadPoolExecutor(40) as threads:
        list(threads.map(right, range(120)))
    assert [wait_s(attempts) for _ in range(10)] == [0] * 10


def test_once_guesses_must_wait_one_is_made_at_a_time(attempts: Attempts, clock: FixedClock) -> None:
    assert [wait_s(attempts) for _ in range(10)] == [0] * 10
    later(clock, 1)
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(lambda _: wait_s(attempts), range(64))).count(0) == 1
    later(clock, 2)
    with ThreadPoolExecutor(2) as threads, attempts.at_password("ada@example.com", "") as attempt:
        waiting = threads.submit(sign_in, attempts, "ada@example.com")
        with pytest.raises(TimeoutError):
            waiting.result(0.1)
        attempt.succeeded()
        waiting.result(5)


def test_what_was_not_compared_is_not_counted(attempts: Attempts) -> None:
    for _ in range(40):
        with pytest.raises(Unavailable), attempts.at_password("ada@example.com", "192.0.2.7"):
            raise Unavailable("the database does not answer")
    assert [wait_s(attempts) for _ in range(10)] == [0] * 10
    assert wait_s(attempts) > 0


def test_an_attempt_whose_process_died_ends_by_itself(attempts: Attempts, clock: FixedClock) -> None:
    with ExitStack() as died:
        lost = [died.enter_context(attempts.at_password("ada@example.com", "")) for _ in range(10)]
        later(clock, 61)
        assert [wait_s(attempts) for _ in range(9)] == [0] * 9
        # Its guess was not counted, so it is not answered.
        with pytest.raises(Unavailable):
            lost[0].failed()
        with pytest.raises(Unavailable):
            lost[1].succeeded()
        assert wait_s(attempts) == 0
        assert wait_s(attempts) == 1


def test_who_waits_too_long_for_others_is_not_counted(attempts: Attempts) -> None:
    until = deadline.set(time.monotonic() + 1.2)
    with ExitStack() as under_way:
        for _ in range(10):
            under_way.enter_context(attempts.at_password("ada@example.com", ""))
        with pytest.raises(Unavailable):
            guess(attempts, "ada@example.com")
    deadline.reset(until)
    assert [wait_s(attempts) for _ in range(10)] == [0] * 10


@pytest.mark.parametrize("error", [Unavailable("down"), Aborted("changing"), DeadlineExceeded("late"), OSError("bug")])
def test_mail_that_could_not_be_written_is_not_counted(attempts: Attempts, error: Exception) -> None:
    for _ in range(20):
        with pytest.raises(type(error)), attempts.at_mail("ada@example.com", "192.0.2.7"):
            raise error
        with pytest.raises(type(error)), attempts.at_invitation("ada@example.com", ACME, EVE):
            raise error
    for _ in range(5):
        attempts.at_mail("ada@example.com", "192.0.2.7")
        attempts.at_invitation("ada@example.com", ACME, EVE)
    with pytest.raises(TooManyAttempts):
        attempts.at_mail("ada@example.com", "192.0.2.7")
    with pytest.raises(TooManyAttempts):
        attempts.at_invitation("ada@example.com", ACME, EVE)


def test_invitations_are_limited_an_hour_however_many_mailboxes_they_go_to(
    attempts: Attempts, clock: FixedClock
) -> None:
    def invite(organization_id: UUID, user_id: UUID) -> None:
        attempts.at_invitation(f"{uuid4()}@example.com", organization_id, user_id)

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
    # Neither by another member nor in another organization; it says when the first of them is an hour old.
    assert (wait(ACME, EVE), wait(ACME, uuid4()), wait(uuid4(), EVE)) == (1800, 1800, 1800)
    invite(uuid4(), uuid4())
    later(clock, 1799)
    assert wait(ACME, EVE) == 1
    later(clock, 1)
    for _ in range(60):
        invite(ACME, EVE)
    assert wait(ACME, EVE) == 1800


def test_an_invitation_that_its_mailbox_refuses_is_not_counted_for_its_sender(attempts: Attempts) -> None:
    for _ in range(5):
        attempts.at_invitation("ada@example.com", ACME, EVE)
    for _ in range(200):
        with pytest.raises(TooManyAttempts):
            attempts.at_invitation("ada@example.com", ACME, EVE)
    attempts.at_invitation("another@example.com", ACME, EVE)


def test_what_the_caller_did_wrong_is_counted(attempts: Attempts) -> None:
    for _ in range(1000):
        with pytest.raises(PasswordWeak), attempts.at_sign_up("192.0.2.7"):
            raise PasswordWeak("password", "")
    with pytest.raises(TooManyAttempts):
        attempts.at_sign_up("192.0.2.7")


def test_mail_that_anybody_can_ask_for_is_limited_for_an_hour_and_by_itself(
    attempts: Attempts, clock: FixedClock
) -> None:
    for _ in range(5):
        attempts.at_mail("ada@example.com", "")
    for wait in (1, 2, 4, 8, 16):
        with pytest.raises(TooManyAttempts):
            attempts.at_mail("ada@example.com", "")
        later(clock, wait)
        attempts.at_mail("ada@example.com", "")
    with pytest.raises(TooManyAttempts) as refused:
        attempts.at_mail("ada@example.com", "")
    assert refused.value.retry_after_s == 3600
    assert wait_s(attempts) == 0


def test_redis_keeps_no_email_and_nothing_for_ever(attempts: Attempts, shared: redis.Redis) -> None:
    guess(attempts, "ada@example.com", "192.0.2.7")
    attempts.at_mail("ada@example.com", "192.0.2.7")
    with attempts.at_password("ada@example.com", "192.0.2.7"):
        keys = list(shared.scan_iter("attempts:*"))
    assert len(keys) == 6
    assert not any(b"ada" in key or b"192" in key for key in keys)
    keys = list(shared.scan_iter("attempts:*"))
    assert len(keys) == 4
    assert all(0 < shared.ttl(key) <= 3600 for key in keys)


def test_without_redis_nobody_guesses(clock: FixedClock) -> None:
    cut_off = Attempts(connect_redis("redis://127.0.0.1:1/0"), clock)
    with pytest.raises(Unavailable):
        guess(cut_off, "ada@example.com")
