"""A circuit breaker: callers do not wait for a dependency that has stopped answering.

pybreaker 1.4 holds its lock during the call, so 16 threads would call Redis one after the other and all wait for the
probe. purgatory 0.7 has no lock, and admits every caller while it probes.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge

from adlib.telemetry import logger

_open = Gauge("circuit_open", "1 while the circuit is open and calls are refused", ["name"])
_changes = Counter("circuit_changes_total", "Openings and closings of the circuit", ["name", "to"])
_refused = Counter("circuit_refused_total", "Calls that were refused while the circuit was open", ["name"])
_log = logger(__name__)


class CircuitOpen(Exception):
    """The circuit is open: the last calls failed, so this one is refused."""


class CircuitBreaker:
    """Opens after `failures` consecutive failures; then one attempt every `retry_s`, and a success closes it.

    If `probe` is set, a background thread makes these attempts, otherwise one of the callers does. Works with threads
    and with asyncio, because it never holds its lock during a call.
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
        # Counts openings and closings: the outcome of a call from an earlier period is ignored.
        self._period = 0
        _open.labels(name).set(0)

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open: all calls but the attempts to close it are refused."""
        return self._is_open

    def is_refusing(self) -> bool:
        """Whether a call would be refused now; does not count as an attempt."""
        return self._is_open and (self.probe is not None or self._is_probing or self._clock() < self._retry_at)

    def stop(self) -> None:
        """Stops the probe thread, if it runs."""
        self._stopped.set()

    @contextmanager
    def attempt(self, *failures: type[BaseException]) -> Iterator[None]:
        """Runs the block; raises CircuitOpen if the circuit is open.

        The listed exceptions count as failures; any other exception is an answer, and counts as a success.
        """
        period = self._enter()
        has_outcome = False
        try:
            yield
            has_outcome = True
            self._record_success(period)
        except failures:
            has_outcome = True
            self._record_failure(period)
            raise
        except Exception:
            has_outcome = True
            self._record_success(period)
            raise
        finally:
            # Cancelled, or the process is ending: the next caller may make the attempt.
            if not has_outcome:
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

    def _record_success(self, period: int) -> None:
        if not self._failed:
            return
        with self._lock:
            if period == self._period:
                self._failed = 0
                if self._is_open:
                    self._switch(is_open=False)

    def _record_failure(self, period: int) -> None:
        with self._lock:
            if period != self._period:
                return
            self._failed += 1
            self._retry_at = self._clock() + self._retry_s
            self._is_probing = False
            if not self._is_open and self._failed >= self._limit:
                self._switch(is_open=True)

    def _switch(self, *, is_open: bool) -> None:
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
            except Exception as error:  # noqa: BLE001 - any exception means that the dependency still fails
                _log.debug("circuit_probe_failed", name=self.name, error=str(error))
                continue
            with self._lock:
                self._failed = 0
                self._switch(is_open=False)
            return
