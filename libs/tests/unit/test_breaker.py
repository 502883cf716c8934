"""The circuit breaker: a failing dependency is not called, and is used again when it has recovered."""

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


def test_circuit_opens_after_consecutive_failures(breaker: CircuitBreaker) -> None:
    fail(breaker)
    call(breaker)
    fail(breaker)
    assert not breaker.is_open
    fail(breaker)
    assert breaker.is_open
    with pytest.raises(CircuitOpen):
        call(breaker)


def test_other_exceptions_are_not_failures(breaker: CircuitBreaker) -> None:
    fail(breaker)
    with pytest.raises(KeyError):
        call(breaker, KeyError())
    fail(breaker)
    assert not breaker.is_open


def test_one_caller_probes_after_the_interval_and_a_success_closes(breaker: CircuitBreaker, clock: Clock) -> None:
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


def test_failed_probe_keeps_the_circuit_open(breaker: CircuitBreaker, clock: Clock) -> None:
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


def test_cancelled_probe_lets_the_next_caller_probe(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker)
    fail(breaker)
    clock.now = 1.0
    with pytest.raises(KeyboardInterrupt):
        call(breaker, KeyboardInterrupt())
    assert breaker.is_open
    call(breaker)
    assert not breaker.is_open


def test_calls_started_before_a_change_do_not_affect_the_circuit(breaker: CircuitBreaker, clock: Clock) -> None:
    with breaker.attempt(TimeoutError):
        fail(breaker)
        fail(breaker)
    assert breaker.is_open
    clock.now = 1.0
    call(breaker)
    fail(breaker)
    assert not breaker.is_open


def test_only_one_of_many_threads_probes(breaker: CircuitBreaker, clock: Clock) -> None:
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


def test_background_probe_closes_the_circuit_without_callers(request: pytest.FixtureRequest) -> None:
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


def test_probe_thread_ends_with_its_breaker(request: pytest.FixtureRequest) -> None:
    breaker = CircuitBreaker(request.node.name, retry_s=60)
    breaker.probe = breaker.is_refusing
    fail(breaker)
    fail(breaker)
    (thread,) = [one for one in threading.enumerate() if one.name == f"{breaker.name}-probe"]
    breaker.stop()
    thread.join(10)
    assert not thread.is_alive()
