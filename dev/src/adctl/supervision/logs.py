"""The log files of the platform's processes, bounded in size while the processes run."""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from adctl.supervision import disk

MAX_LOG_BYTES = 10 * 1024 * 1024
# A process can write this much before this process reads it; Linux allows 1 MiB without privileges.
_PIPE_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_TAIL_BYTES = 64 * 1024
_POLL_INTERVAL_S = 0.2


def rotated(path: Path) -> Path:
    """Return the path of the log's previous part: NAME.log.1."""
    return path.with_name(path.name + ".1")


def open_log(path: Path) -> IO[bytes]:
    """Open a log to append to, after rotating one that exceeds the limit.

    Unbuffered: closing a buffered file raises again what a full disk refused. Opens /dev/null where the disk refuses.
    """
    try:
        if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
            path.replace(rotated(path))
        return path.open("ab", buffering=0)
    except OSError as error:
        if not disk.is_refusal(error):
            raise
        return Path(os.devnull).open("ab", buffering=0)


def rotate_standard_output(path: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
    """Rotate the log that is this process's own standard output and error, once it exceeds the limit."""
    if os.fstat(1).st_size <= max_bytes:
        return
    path.replace(rotated(path))
    with path.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


class RotatingFile:
    """A log file that becomes NAME.log.1 when it is full, at the end of a line. Drops what a full disk refuses."""

    def __init__(self, path: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._dropped_bytes = 0
        self._is_mid_line = False
        self._file: IO[bytes] | None = None
        self._write(b"")

    def write(self, data: bytes) -> None:
        """Append the data; it may end within a line."""
        with self._lock:
            self._write(data)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _write(self, data: bytes) -> None:
        try:
            file = self._file or self._open()
            if self._dropped_bytes:
                file.write(f"[{self._dropped_bytes} bytes were lost here: the disk was full]\n".encode())
                self._dropped_bytes = 0
            space = self._max_bytes - os.fstat(file.fileno()).st_size
            if len(data) > space:
                end = data.rfind(b"\n", 0, max(space, 0)) + 1
                if not end and self._is_mid_line:
                    end = data.find(b"\n") + 1
                if end or not self._is_mid_line:
                    file.write(data[:end])
                    data = data[end:]
                    file = self._rotate()
            file.write(data)
            self._is_mid_line = not data.endswith(b"\n") if data else self._is_mid_line
        except OSError as error:
            if not disk.is_refusal(error):
                raise
            self._dropped_bytes += len(data)

    def _open(self) -> IO[bytes]:
        self._file = self._path.open("ab", buffering=0)
        return self._file

    def _rotate(self) -> IO[bytes]:
        self._is_mid_line = False
        if self._file is not None:
            self._file.close()
            self._file = None
        self._path.replace(rotated(self._path))
        return self._open()


class LogCollector:
    """Writes the output of processes to their log files, which rotate meanwhile.

    Each process writes into a pipe, which a thread of this process reads: a file that the process itself had opened
    could not be truncated or renamed without losing lines.
    """

    def __init__(self, path: Callable[[str], Path], max_bytes: int = MAX_LOG_BYTES) -> None:
        self.path = path
        """The log file of the process with that name."""
        self._max_bytes = max_bytes
        self._files: dict[str, RotatingFile] = {}
        self._readers: dict[str, list[threading.Thread]] = {}

    def open(self, name: str) -> IO[bytes]:
        """Return the end of a new pipe that a process writes to; close it once the process has it."""
        if name not in self._files:
            self._files[name] = RotatingFile(self.path(name), self._max_bytes)
        read_end, write_end = os.pipe()
        with suppress(OSError):  # the user's other pipes may have used up the limit
            fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        reader = threading.Thread(target=_copy, args=(read_end, self._files[name]), name=f"log {name}", daemon=True)
        self._readers[name] = [one for one in self._readers.get(name, []) if one.is_alive()] + [reader]
        reader.start()
        return os.fdopen(write_end, "wb", buffering=0)

    def drain(self, name: str, timeout_s: float = 1.0) -> None:
        """Wait until the whole output of an ended process is in its file, for `timeout_s` at most."""
        deadline = time.monotonic() + timeout_s
        for reader in self._readers.get(name, []):
            reader.join(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """Write the remaining output of ended processes, and close the files."""
        for name in self._readers:
            self.drain(name)
        for file in self._files.values():
            file.close()


def _copy(read_end: int, file: RotatingFile) -> None:
    try:
        while data := os.read(read_end, _CHUNK_BYTES):
            file.write(data)
    finally:
        os.close(read_end)


def tail(path: Path, count: int) -> list[str]:
    """Return the last lines of a file, as far as they are in its last 64 KiB."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return lines[-count:] if count else []


def error_line(lines: list[str]) -> str:
    """Return the line that says why a program failed: the last traceback's exception, or else the last line."""
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    after = lines[starts[-1] + 1 :] if starts else []
    exceptions = (line for line in after if line and not line[0].isspace())
    return next(exceptions, next((line for line in reversed(lines) if line.strip()), "it printed nothing"))


def follow(paths: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Yield (name, line) for each line appended from now on, without end; files may appear and be rotated."""
    return _follow({name: _FollowedFile(path) for name, path in paths.items()})


def _follow(files: Mapping[str, "_FollowedFile"]) -> Iterator[tuple[str, str]]:
    while True:
        is_idle = True
        for name, file in files.items():
            for line in file.new_lines():
                is_idle = False
                yield name, line
        if is_idle:
            time.sleep(_POLL_INTERVAL_S)


class _FollowedFile:
    """Reads a log from its present end on, across rotations."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._part = b""
        with suppress(FileNotFoundError):
            self._file = path.open("rb")
            self._file.seek(0, os.SEEK_END)

    def new_lines(self) -> list[str]:
        """Return the lines that have ended since the last call."""
        is_open = self._is_open(self._path)  # checked first, so that the read includes all lines before a rename
        data = self._read()
        if not data and not is_open:
            was_rotated_twice = self._file is not None and not self._is_open(rotated(self._path))
            with suppress(FileNotFoundError):
                following = (rotated(self._path) if was_rotated_twice else self._path).open("rb")
                if self._file is not None:
                    self._file.close()
                self._file = following
                data = self._read()
        *lines, self._part = (self._part + data).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def _is_open(self, path: Path) -> bool:
        """Whether the open file is that of the path, or that path is missing."""
        if self._file is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), path.stat())
        except FileNotFoundError:
            return True

    def _read(self) -> bytes:
        if self._file is None:
            return b""
        if os.fstat(self._file.fileno()).st_size < self._file.tell():  # truncated by hand
            self._file.seek(0)
            self._part = b""
        return self._file.read(1 << 20)
