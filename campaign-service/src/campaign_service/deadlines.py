"""Time limits for the current work, which apply to every call that it makes to other systems."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from adlib.deadline import deadline


@contextmanager
def time_limit(seconds: float, *, replaces: bool = False) -> Iterator[None]:
    """Limits the block to this many seconds, or to the caller's deadline where that is earlier.

    `replaces`: the limit applies even where the caller's deadline is earlier. Jobs may outlast their callers.
    """
    end = monotonic() + seconds
    token = deadline.set(end if replaces else min(end, deadline.get()))
    try:
        yield
    finally:
        deadline.reset(token)


def remaining_s(limit_s: float) -> float:
    """The seconds until the deadline, `limit_s` at most; zero or less once it has passed."""
    return min(limit_s, deadline.get() - monotonic())
