"""Whether a platform runs here (a lock that ends with it) and its published state (status.json)."""

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

from adctl.errors import UserError
from adctl.state import Paths
from adctl.supervision import disk, guard
from adctl.supervision.process import Phase, PlatformPhase, ProcessView, Snapshot

_RETRY_INTERVAL_S = 0.5


@dataclass(frozen=True)
class Running:
    """A running platform and its last published state."""

    pid: int
    """The supervisor's process id."""
    snapshot: Snapshot


class AlreadyRunning(UserError):
    """Another supervisor holds the lock."""


def lock_file(paths: Paths) -> Path:
    """Return the file that the supervisor locks while it runs and writes its process id into."""
    return paths.run / "lock"


def guard_lock_file(paths: Paths) -> Path:
    """Return the file that the guard locks until all processes have ended."""
    return paths.run / "guard.lock"


def acquire_lock(paths: Paths) -> IO[str]:
    """Acquire the supervisor's lock until the file is closed or the process ends; AlreadyRunning."""
    file = lock_file(paths).open("a+")
    # `find` in another process holds the lock for an instant.
    if not _locked(file, fcntl.LOCK_EX, timeout_s=0.5):
        file.close()
        raise AlreadyRunning("the platform is already up")
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    publish(paths, Snapshot(PlatformPhase.STARTING, ()))
    return file


def wait_for_guard(paths: Paths, *, timeout_s: float = 20) -> None:
    """Wait until all processes of a killed run have ended; UserError."""
    with guard_lock_file(paths).open("a+") as file:
        if not _locked(file, fcntl.LOCK_EX, timeout_s=timeout_s):
            raise UserError("processes of the last run are still ending; try again in a moment")


def publish(paths: Paths, snapshot: Snapshot) -> None:
    """Replace the status file atomically."""
    target = paths.run / "status.json"
    temporary = target.with_suffix(".new")
    try:
        temporary.write_text(json.dumps({"pid": os.getpid(), **asdict(snapshot)}))
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


class Publisher:
    """Publishes snapshots. While the disk refuses writes, the last one stays readable and the newest is retried."""

    def __init__(self, paths: Paths, report: Callable[[str], None]) -> None:
        self._paths = paths
        self._report = report
        self._pending: Snapshot | None = None
        self._retry_at = 0.0
        self._is_refused = False

    def publish(self, snapshot: Snapshot) -> None:
        """Publish a snapshot now or, if the disk refuses the write, at a later `retry`."""
        self._pending = snapshot
        if not self._is_refused:
            self._write()

    def retry(self) -> None:
        """Publish the snapshot that the disk refused, if any; called several times a second."""
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
            self._retry_at = time.monotonic() + _RETRY_INTERVAL_S
            if not self._is_refused:
                self._is_refused = True
                self._report(
                    f"nothing can be written in {self._paths.run}: {error.strerror}; the platform keeps running"
                )
            return
        self._pending = None
        if self._is_refused:
            self._is_refused = False
            self._report("the disk accepts writes again")


def last(paths: Paths) -> tuple[int, Snapshot] | None:
    """Return the process id and last snapshot of the supervisor that runs, or ran last."""
    try:
        document = json.loads((paths.run / "status.json").read_text())
        views = tuple(ProcessView(**{**view, "phase": Phase(view["phase"])}) for view in document["processes"])
        return int(document["pid"]), Snapshot(PlatformPhase(document["phase"]), views, document["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find(paths: Paths) -> Running | None:
    """Return the platform that runs here, if one does. Only the lock decides: a file can be stale."""
    try:
        with lock_file(paths).open() as file:
            if _locked(file, fcntl.LOCK_SH):
                return None
            pid = int(file.readline().strip("\n"))
    except (
        OSError,
        ValueError,
    ):  # ValueError: the lock was acquired an instant ago, and the file has no process id yet
        return None
    published = last(paths)
    is_current = published is not None and published[0] == pid
    return Running(pid, published[1] if published and is_current else Snapshot(PlatformPhase.STARTING, ()))


def _locked(file: IO[str], kind: int, *, timeout_s: float = 0) -> bool:
    deadline = time.monotonic() + timeout_s
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
    """The process that ends the remaining processes if the supervisor is killed; it holds its lock until then."""

    paths: Paths
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def __enter__(self) -> Self:
        wait_for_guard(self.paths)
        with guard_lock_file(self.paths).open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # The lock belongs to the open file, which from here on only the guard has open.
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

    def started(self, pid: int) -> None:
        """Register a process group."""
        self._send(f"+{pid}\n")

    def ended(self, pid: int) -> None:
        """Remove a process group that ended."""
        self._send(f"-{pid}\n")

    def _send(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.write(line.encode())
                self._process.stdin.flush()
