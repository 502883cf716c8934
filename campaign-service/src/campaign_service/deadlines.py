"""How long the work at hand may take, for every call it makes to the outside."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from adlib.deadline import deadline


@contextmanager
def within(seconds: float, *, own: bool = False) -> Iterator[None]:
    """Gives the block so long, or less where the call has less left; `own`: whatever the call has left."""
    end = monotonic() + seconds
    token = deadline.set(end if own else min(end, deadline.get()))
    try:
        yield
    finally:
        deadline.reset(token)


def remaining_s(most: float) -> float:
    """What is left, at most `most`; not positive where time has run out."""
    return min(most, deadline.get() - monotonic())
