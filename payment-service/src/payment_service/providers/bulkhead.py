"""Who may wait for a provider: one that hangs must not take every thread that serves everybody."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from adlib.errors import Unavailable

# Of the 16 threads that answer calls; with three providers that hang, there is one left.
_AT_ONCE = 5
_WAIT_S = 1.0


class Bulkhead:
    """Lets so many callers wait for each of the providers at the same time."""

    def __init__(self, providers: Collection[str], at_once: int = _AT_ONCE, wait_s: float = _WAIT_S) -> None:
        self._free = {name: threading.BoundedSemaphore(at_once) for name in providers}
        self._wait_s = wait_s

    @contextmanager
    def acquire(self, provider: str) -> Iterator[None]:
        """Holds a turn for the block; UNAVAILABLE where none becomes free in time."""
        free = self._free[provider]
        if not free.acquire(timeout=self._wait_s):
            raise Unavailable("too many calls wait for the payment provider; try again")
        try:
            yield
        finally:
            free.release()
