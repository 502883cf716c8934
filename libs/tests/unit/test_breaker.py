"""What does not answer is not waited for, and is used again once it does."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import REGISTRY

from adlib.breaker import CircuitBreaker, CircuitOpen
from adtesting import eventually


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock, request: pytest.FixtureRequest) -> CircuitBreaker:
    return CircuitBreaker(request.node.name, failures=2, retry_s=1.0, clock=clock)


def call(breaker: CircuitBreaker, error: BaseException | None = None) -> None:
    with breaker.attempt(TimeoutError):
        if error is not None:
            raise error


def fail(breaker: CircuitBreaker) -> None:
    with pytest.raises(TimeoutError):
        call(breaker, TimeoutError())


def test_it_opens_after_so_many_failures_in_a_row(breaker: CircuitBreaker) -> None:
    fail(breaker)
    call(breaker)
    fail(breaker)
    assert not breaker.is_open
    fail(breaker)
    assert breaker.is_open
    with pytest.raises(CircuitOpen):
        call(breaker)


def test_an_answer_that_is_an_error_is_no_failure(breaker: CircuitBreaker) -> None:
    fail(breaker)
    with pytest.raises(KeyError):
        call(breaker, KeyError())
    fail(breaker)
    assert not breaker.is_open


def test_after_a_while_one_caller_tries_and_a_success_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker)
    fail(breaker)
    clock.now = 1.0
    assert not breaker.is_refusing()
    with breaker.attempt(TimeoutError):
        assert breaker.is_refusing()
        with pytest.raises(CircuitOpen):
            call(breaker)
    assert not breaker.is_open
    call(breaker)


def test_a_try_that_fails_keeps_it_open_for_another_while(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker)
    fail(breaker)
    clock.now = 1.0
    fail(breaker)
    clock.now = 1.9
    with pytest.raises(CircuitOpen):
        call(breaker)
    clock.now = 2.0
    call(breaker)
    assert not breaker.is_open


def test_a_try_that_is_cancelled_leaves_the_turn_to_the_next(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker)
    fail(breaker)
    clock.now = 1.0
    with pytest.raises(KeyboardInterrupt):
        call(breaker, KeyboardInterrupt())
    assert breaker.is_open
    call(breaker)
    assert not breaker.is_open


def test_what_began_before_it_opened_neither_closes_nor_opens_it(breaker: CircuitBreaker, clock: Clock) -> None:
    with breaker.attempt(TimeoutError):
        fail(breaker)
        fail(breaker)
    assert breaker.is_open
    clock.now = 1.0
    call(breaker)
    fail(breaker)
    assert not breaker.is_open


def test_of_many_threads_one_tries(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker)
    fail(breaker)
    clock.now = 1.0
    tried, others = threading.Semaphore(0), threading.Event()

    def run(_: int) -> bool:
        try:
            with breaker.attempt(TimeoutError):
                tried.release()
                assert others.wait(10)
        except CircuitOpen:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(run, 0)
        assert tried.acquire(timeout=10)
        assert not any(threads.map(run, range(7)))
        others.set()
        assert first.result()
    assert not breaker.is_open


def test_openings_and_closings_are_counted_and_logged(
    breaker: CircuitBreaker, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    def value(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(name, {"name": breaker.name, **labels})

    fail(breaker)
    fail(breaker)
    assert (value("circuit_open"), value("circuit_changes_total", to="open")) == (1, 1)
    clock.now = 1.0
    call(breaker)
    assert (value("circuit_open"), value("circuit_changes_total", to="closed")) == (0, 1)
    logged = [line for line in capsys.readouterr().out.splitlines() if breaker.name in line]
    assert ["circuit_open" in logged[0], "circuit_closed" in logged[1], len(logged)] == [True, True, 2]


def test_with_a_probe_no_caller_tries_and_its_success_closes_it(request: pytest.FixtureRequest) -> None:
    breaker, answers, probed = (
        CircuitBreaker(request.node.name, retry_s=0.01),
        threading.Event(),
        threading.Semaphore(0),
    )

    def probe() -> None:
        probed.release()
        if not answers.is_set():
            raise TimeoutError

    breaker.probe = probe
    fail(breaker)
    fail(breaker)
    for _ in range(3):
        assert probed.acquire(timeout=10)
    assert breaker.is_refusing()
    with pytest.raises(CircuitOpen):
        call(breaker)
    answers.set()
    assert eventually(lambda: not breaker.is_open)
    call(breaker)


def test_a_probe_ends_with_its_breaker(request: pytest.FixtureRequest) -> None:
    breaker = CircuitBreaker(request.node.name, retry_s=60)
    breaker.probe = breaker.is_refusing
    fail(breaker)
    fail(breaker)
    (thread,) = [one for one in threading.enumerate() if one.name == f"{breaker.name}-probe"]
    breaker.stop()
    thread.join(10)
    assert not thread.is_alive()
