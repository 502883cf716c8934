"""Whether a platform runs here, and what it says about itself: a lock that dies with it, and a file."""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Self

from adctl import disk, guard
from adctl.children import ChildError
from adctl.process import Phase, PlatformPhase, ProcessView, Snapshot
from adctl.state import Paths

_RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class Running:
    """A platform that runs, and what it last said."""

    pid: int
    """The supervisor's process id."""
    snapshot: Snapshot


class AlreadyRunning(ChildError):
    """Another supervisor holds the lock."""


def lock_file(paths: Paths) -> Path:
    """Return the file that the supervisor holds locked while it runs; it holds its process id."""
    return paths.run / "lock"


def guard_lock_file(paths: Paths) -> Path:
    """Return the file that the guard holds locked until everything has ended."""
    return paths.run / "guard.lock"


def take_lock(paths: Paths) -> IO[str]:
    """Take the supervisor's lock, which is held until the file is closed or the process ends."""
    file = lock_file(paths).open("a+")
    # Someone who only looks whether it is held holds it for an instant.
    if not _locked(file, fcntl.LOCK_EX, wait_seconds=0.5):
        file.close()
        raise AlreadyRunning("the platform is already up")
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    publish(paths, Snapshot(PlatformPhase.STARTING, ()))
    return file


def wait_for_guard(paths: Paths, *, wait_seconds: float = 20) -> None:
    """Wait until everything of a killed run has ended."""
    with guard_lock_file(paths).open("a+") as file:
        if not _locked(file, fcntl.LOCK_EX, wait_seconds=wait_seconds):
            raise ChildError("processes of the last run are still ending; try again in a moment")


def publish(paths: Paths, snapshot: Snapshot) -> None:
    """Write the status file in one step."""
    target = paths.run / "status.json"
    temporary = target.with_suffix(".new")
    try:
        temporary.write_text(json.dumps({"pid": os.getpid(), **asdict(snapshot)}))
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


class Publisher:
    """Publishes snapshots; what the disk refuses is published once it takes it, and the last word stays readable."""

    def __init__(self, paths: Paths, say: Callable[[str], None]) -> None:
        self._paths = paths
        self._say = say
        self._pending: Snapshot | None = None
        self._retry_at = 0.0
        self._is_refused = False

    def publish(self, snapshot: Snapshot) -> None:
        """Publish it now or, where the disk refuses, with a later `retry`."""
        self._pending = snapshot
        if not self._is_refused:
            self._write()

    def retry(self) -> None:
        """Publish what was refused; call this often."""
        if self._is_refused and time.monotonic() >= self._retry_at:
            self._write()

    def _write(self) -> None:
        if self._pending is None:
            return
        try:
            publish(self._paths, self._pending)
        except OSError as error:
            if not disk.is_refusal(error):
                raise
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            if not self._is_refused:
                self._is_refused = True
                self._say(f"nothing can be written in {self._paths.run}: {error.strerror}; the platform goes on")
            return
        self._pending = None
        if self._is_refused:
            self._is_refused = False
            self._say("the disk takes what is written again")


def last(paths: Paths) -> tuple[int, Snapshot] | None:
    """Return the last word of a supervisor, running or not, with its process id."""
    try:
        document = json.loads((paths.run / "status.json").read_text())
        views = tuple(ProcessView(**{**view, "phase": Phase(view["phase"])}) for view in document["processes"])
        return int(document["pid"]), Snapshot(PlatformPhase(document["phase"]), views, document["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find(paths: Paths) -> Running | None:
    """Return the platform that runs here, if one does. The lock says so, which no stale file can."""
    try:
        with lock_file(paths).open() as file:
            if _locked(file, fcntl.LOCK_SH):
                return None
            pid = int(file.readline().strip("\n"))
    except (OSError, ValueError):  # ValueError: it has only just taken the lock
        return None
    said = last(paths)
    current = said is not None and said[0] == pid
    return Running(pid, said[1] if said and current else Snapshot(PlatformPhase.STARTING, ()))


def _locked(file: IO[str], kind: int, *, wait_seconds: float = 0) -> bool:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        else:
            return True


@dataclass
class Guard:
    """The process that ends what is left when we are killed; it holds the guard's lock until then."""

    paths: Paths
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def __enter__(self) -> Self:
        wait_for_guard(self.paths)
        with guard_lock_file(self.paths).open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # The lock belongs to the open file, which the guard alone keeps open from here on.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__],
                stdin=subprocess.PIPE,
                pass_fds=[lock.fileno()],
                start_new_session=True,
                env={"ADPLATFORM_HOME": str(self.paths.home)},
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait(30)

    def began(self, pid: int) -> None:
        """Tell it of a process group."""
        self._tell(f"+{pid}\n")

    def ended(self, pid: int) -> None:
        """Tell it that a process group has ended."""
        self._tell(f"-{pid}\n")

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.write(line.encode())
                self._process.stdin.flush()
