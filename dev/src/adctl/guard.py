"""Ends what is left of the platform when its supervisor is killed. Run as a file, needs nothing but Python.

The kernel tells each child that its parent is gone, but not the child's own children, and a child may be deaf.
Reads `+PID` and `-PID` (leaders of process groups that began and ended) until the supervisor's end of the pipe closes.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

_GRACE_SECONDS = 8.0


def alive(groups: Iterable[int]) -> set[int]:
    """Return those process groups that still have a member; one that only waits to be reaped does not count."""
    wanted = {group for group in groups if _signal(group, 0)}
    if not wanted or not Path("/proc/self/stat").exists():
        return wanted
    found = set()
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            # "pid (name) state ppid pgrp …", and the name may hold anything.
            state, _, group = file.read_text(errors="replace").rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if state != "Z":
            found.add(int(group))
    return wanted & found


def main() -> None:
    """Watch the pipe; at its end ask every group to stop, then make them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    deadline = time.monotonic() + _GRACE_SECONDS
    for group in alive(groups):
        _signal(group, signal.SIGTERM)
    while (left := alive(groups)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for group in left:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main()
