"""Waiting for what another process or thread does, with a deadline instead of a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(probe: Callable[[], T], *, within_s: float = 10.0, every_s: float = 0.02) -> T:
    """The first true value of `probe`; AssertionError, with what it gave or raised last, where none comes in time."""
    end = time.monotonic() + within_s
    while True:
        last: object
        try:
            value = probe()
            if value:
                return value
            last = value
        except Exception as error:  # noqa: BLE001 - not there yet; what it was is said when time runs out
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"nothing true within {within_s} s; last: {last!r}")
        time.sleep(every_s)
