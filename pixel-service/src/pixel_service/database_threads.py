"""Database calls from the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from adlib.errors import Unavailable

_MAX_CALLS = 512

T = TypeVar("T")


class DatabaseThreads:
    """Runs blocking calls on threads, at most 512 at a time including those that wait for a thread."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._calls = 0

    async def run(self, call: Callable[[], T]) -> T:
        """The call's result; UNAVAILABLE at the limit."""
        if self._calls >= _MAX_CALLS:
            raise Unavailable("too many requests wait for the database; try again")
        self._calls += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        finally:
            self._calls -= 1
