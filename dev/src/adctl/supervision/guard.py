"""Ends the remaining processes if the supervisor is killed. Runs as a file and needs only the standard library.

The kernel signals the supervisor's children when it ends, but not their children, and a child may ignore the signal.
Reads `+PID` and `-PID` (process groups that started and ended) until the supervisor's end of the pipe closes.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

_GRACE_S = 8.0


def alive(groups: Iterable[int]) -> set[int]:
    """Return the process groups that still have a member other than zombies."""
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
    """Read the pipe to its end; then send every group SIGTERM, and SIGKILL after the grace period."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    deadline = time.monotonic() + _GRACE_S
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
