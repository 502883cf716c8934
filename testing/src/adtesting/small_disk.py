"""A filesystem of a few megabytes, for tests of a full disk. Run as a file: `small_disk.py SIZE_MB FOLDER COMMAND…`.

The command runs in a mount namespace of its own, where the folder is a tmpfs of that size; it ends with the command. In
a user namespace too, so that it needs no root, and in which it is nobody, as PostgreSQL wants it.
"""

import ctypes
import errno
import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_NOBODY = 65534
_REFUSED = 77
_VARIABLE = "ADPLATFORM_SMALL_DISK"
_LONGEST_S = 300


def on_small_disk(size_mb: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A test that runs in a process of its own, where the folder of its fixture `small_disk` has so many megabytes.

    It is skipped where the kernel refuses namespaces.
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        if _VARIABLE in os.environ:
            return test

        @functools.wraps(test)
        def outside(*_: Any, **fixtures: Any) -> None:
            import pytest

            folder = fixtures["small_disk"]
            name = f"{sys.modules[test.__module__].__file__}::{test.__name__}"
            inside = [
                sys.executable,
                "-m",
                "pytest",
                "-n",
                "0",
                "-p",
                "no:cacheprovider",
                f"--basetemp={folder / 'tmp'}",
                name,
            ]
            done = subprocess.run(
                [sys.executable, "-S", __file__, str(size_mb), str(folder), *inside],
                env={**os.environ, _VARIABLE: str(folder)},
                capture_output=True,
                text=True,
                timeout=_LONGEST_S,
                check=False,
            )
            if done.returncode == _REFUSED:
                pytest.skip(done.stderr.strip())
            if done.returncode != 0:
                pytest.fail(done.stdout + done.stderr, pytrace=False)

        return outside

    return decorate


def given(folder: Path) -> Path:
    """What the fixture `small_disk` is: inside, the small filesystem; outside, where it will be."""
    return Path(os.environ.get(_VARIABLE, folder))


class Filler:
    """Takes all the space that is left, and gives it back."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "filler"

    def fill(self) -> None:
        """Leaves not a byte."""
        with self._file.open("ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """Gives it back."""
        self._file.unlink(missing_ok=True)


def main(size_mb: str, folder: str, command: list[str]) -> None:
    """Becomes the command, with the folder a filesystem of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS) != 0:
        print(f"namespaces are not allowed here: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        sys.exit(_REFUSED)
    for name, value in {
        "setgroups": "deny",
        "uid_map": f"{_NOBODY} {user} 1",
        "gid_map": f"{_NOBODY} {group} 1",
    }.items():
        Path(f"/proc/self/{name}").write_text(value)
    if libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, f"size={size_mb}m,mode=755".encode()) != 0:
        print(f"mounting is not allowed here: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        sys.exit(_REFUSED)
    os.execv(command[0], command)  # noqa: S606  # the interpreter that runs us, no shell


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
