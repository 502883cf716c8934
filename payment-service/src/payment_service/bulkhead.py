"""Limits concurrent calls to each provider: a provider that hangs must not occupy every thread of the server."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from adlib.errors import Unavailable

# Of the server's 16 threads; with three providers hanging, one thread is left.
_MAX_CONCURRENT = 5
_MAX_WAIT_S = 1.0


class Bulkhead:
    """Lets at most `max_concurrent` callers wait for each provider."""

    def __init__(
        self, providers: Collection[str], max_concurrent: int = _MAX_CONCURRENT, max_wait_s: float = _MAX_WAIT_S
    ) -> None:
        self._slots = {name: threading.BoundedSemaphore(max_concurrent) for name in providers}
        self._max_wait_s = max_wait_s

    @contextmanager
    def acquire(self, provider: str) -> Iterator[None]:
        """Holds one of the provider's slots for the block; UNAVAILABLE if none becomes free in time."""
        slots = self._slots[provider]
        if not slots.acquire(timeout=self._max_wait_s):
            raise Unavailable("too many calls are waiting for the payment provider; try again")
        try:
            yield
        finally:
            slots.release()
