"""Detects a provider's outages from the calls of this process."""

import threading
from datetime import datetime, timedelta

from adlib.clock import Clock

# A shorter outage is a restart or a lost packet; the task queue opens the payments created during it.
_MIN_OUTAGE = timedelta(seconds=10)


class OutageDetector:
    """Reports an outage once calls have failed for 10 seconds with no success in between."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._first_failure: datetime | None = None
        self._last_failure: datetime | None = None
        self._reason = ""

    def record_success(self) -> None:
        """Ends an outage."""
        with self._lock:
            self._first_failure = self._last_failure = None

    def record_failure(self, reason: str) -> None:
        """Records a failed call and its reason."""
        with self._lock:
            self._last_failure, self._reason = self._clock.now(), reason
            self._first_failure = self._first_failure or self._last_failure

    @property
    def reason(self) -> str:
        """The reason of the current outage; empty when there is none."""
        with self._lock:
            if self._first_failure is None or self._last_failure is None:
                return ""
            return self._reason if self._last_failure - self._first_failure >= _MIN_OUTAGE else ""
