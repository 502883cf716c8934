"""The log files of the platform's processes."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from adctl.disk import is_refusal

_ROTATE_BYTES = 10 * 1024 * 1024


def open_log(path: Path) -> IO[bytes]:
    """Open a log to append to; one that has grown large becomes `NAME.log.1` first.

    Without a buffer, which would fail again when it is closed; nowhere where the disk gives no place for a new file.
    """
    try:
        if path.exists() and path.stat().st_size > _ROTATE_BYTES:
            path.replace(path.with_name(path.name + ".1"))
        return path.open("ab", buffering=0)
    except OSError as error:
        if not is_refusal(error):
            raise
        return Path(os.devnull).open("ab", buffering=0)


def tail(path: Path, count: int) -> list[str]:
    """Return the last lines of a file; of a line's length only the last 64 KiB of the file are seen."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 65_536))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return lines[-count:] if count else []


def follow(paths: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Yield (name, line) as lines are appended from now on, for ever; a file may come, go and be rotated."""
    return _follow(paths, {name: path.stat().st_size if path.exists() else 0 for name, path in paths.items()})


def _follow(paths: Mapping[str, Path], offsets: dict[str, int]) -> Iterator[tuple[str, str]]:
    parts = dict.fromkeys(paths, b"")
    while True:
        quiet = True
        for name, path in paths.items():
            if not path.exists():
                continue
            if path.stat().st_size < offsets[name]:
                offsets[name], parts[name] = 0, b""
            with path.open("rb") as file:
                file.seek(offsets[name])
                chunk = file.read(1 << 20)
            offsets[name] += len(chunk)
            *lines, parts[name] = (parts[name] + chunk).split(b"\n")
            quiet = quiet and not lines
            for line in lines:
                yield name, line.decode(errors="replace")
        if quiet:
            time.sleep(0.2)
