"""Whether a provider answers, as far as the calls of this process know."""

import threading
from datetime import datetime, timedelta

from adlib.clock import Clock

# Shorter failures are a restart or a lost packet, and the payment is opened by the queue.
_KNOWN_AFTER = timedelta(seconds=10)


class Health:
    """An outage is known once calls have failed for 10 seconds and none was answered in between."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._because = ""

    def answered(self) -> None:
        """Records that a call was answered."""
        with self._lock:
            self._first = self._last = None

    def failed(self, because: str) -> None:
        """Records that a call was not answered, and why."""
        with self._lock:
            self._last, self._because = self._clock.now(), because
            self._first = self._first or self._last

    @property
    def outage(self) -> str:
        """Why the provider is known not to work; empty where it is not."""
        with self._lock:
            if self._first is None or self._last is None or self._last - self._first < _KNOWN_AFTER:
                return ""
            return self._because
