"""A circuit breaker: callers do not wait for what has stopped answering.

Our own few lines: pybreaker 1.4 holds its lock while it calls, so sixteen threads would ask Redis one after the other
and all wait for the probe; purgatory 0.7 has no lock, and lets everybody through while it probes.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge

from adlib.telemetry import logger

_open = Gauge("circuit_open", "1 while what the circuit leads to is not asked", ["name"])
_changes = Counter("circuit_changes_total", "Openings and closings of the circuit", ["name", "to"])
_refused = Counter("circuit_refused_total", "Calls that were refused at once", ["name"])
_log = logger(__name__)


class CircuitOpen(Exception):
    """It has not answered the last calls, so it is not asked."""


class CircuitBreaker:
    """Opens after so many failures in a row; then one try every `retry_s`, and a success closes it.

    A thread of its own tries where there is a `probe`, and else one of the callers. For threads and for asyncio
    alike: the lock is never held while something is called.
    """

    def __init__(
        self, name: str, *, failures: int = 2, retry_s: float = 0.5, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.probe: Callable[[], object] | None = None
        self._stopped = threading.Event()
        self._limit = failures
        self._retry_s = retry_s
        self._clock = clock
        self._lock = threading.Lock()
        self._failed = 0
        self._is_open = False
        self._is_probing = False
        self._retry_at = 0.0
        # Counts openings and closings: what began before the last of them says nothing about now.
        self._period = 0
        _open.labels(name).set(0)

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, but for the one that tries."""
        return self._is_open

    def is_refusing(self) -> bool:
        """Whether a call right now would be refused; it does not take the turn to try."""
        return self._is_open and (self.probe is not None or self._is_probing or self._clock() < self._retry_at)

    def stop(self) -> None:
        """Ends the thread that tries, if there is one."""
        self._stopped.set()

    @contextmanager
    def attempt(self, *failures: type[BaseException]) -> Iterator[None]:
        """Runs the block, which fails where it raises one of these; any other exception is an answer. CircuitOpen."""
        period = self._enter()
        is_known = False
        try:
            yield
            is_known = True
            self._succeeded(period)
        except failures:
            is_known = True
            self._has_failed(period)
            raise
        except Exception:
            is_known = True
            self._succeeded(period)
            raise
        finally:
            # Cancelled, or the process is ending: the next caller may try.
            if not is_known:
                self._is_probing = False

    def _enter(self) -> int:
        if not self._is_open:
            return self._period
        with self._lock:
            if self._is_open and self.is_refusing():
                _refused.labels(self.name).inc()
                raise CircuitOpen(self.name)
            self._is_probing = self._is_open
            return self._period

    def _succeeded(self, period: int) -> None:
        if not self._failed:
            return
        with self._lock:
            if period == self._period:
                self._failed = 0
                if self._is_open:
                    self._turn(is_open=False)

    def _has_failed(self, period: int) -> None:
        with self._lock:
            if period != self._period:
                return
            self._failed += 1
            self._retry_at = self._clock() + self._retry_s
            self._is_probing = False
            if not self._is_open and self._failed >= self._limit:
                self._turn(is_open=True)

    def _turn(self, *, is_open: bool) -> None:
        self._is_open, self._is_probing = is_open, False
        self._period += 1
        _open.labels(self.name).set(is_open)
        _changes.labels(self.name, "open" if is_open else "closed").inc()
        if is_open and self.probe:
            threading.Thread(target=self._recover, args=[self.probe], name=f"{self.name}-probe", daemon=True).start()
        (_log.warning if is_open else _log.info)("circuit_open" if is_open else "circuit_closed", name=self.name)

    def _recover(self, probe: Callable[[], object]) -> None:
        while not self._stopped.wait(self._retry_s):
            try:
                probe()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is not back yet
                _log.debug("circuit_probe_failed", name=self.name, error=str(error))
                continue
            with self._lock:
                self._failed = 0
                self._turn(is_open=False)
            return
