"""Waiting for other processes and threads, with a deadline instead of a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(probe: Callable[[], T], *, within_s: float = 10.0, every_s: float = 0.02) -> T:
    """Calls `probe` until it returns a true value, and returns it; AssertionError with the last result on timeout."""
    end = time.monotonic() + within_s
    while True:
        last: object
        try:
            value = probe()
            if value:
                return value
            last = value
        except Exception as error:  # noqa: BLE001 - the condition is not met yet; the message has the last error
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"nothing true within {within_s} s; last: {last!r}")
        time.sleep(every_s)
