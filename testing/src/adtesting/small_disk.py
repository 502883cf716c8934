"""A filesystem of a few megabytes, for tests of a full disk. Run as a file: `small_disk.py SIZE_MB FOLDER COMMAND…`.

The command runs in its own mount namespace, where the folder is a tmpfs of this size that disappears when the command
ends. It also runs in a user namespace, which needs no root privileges, as an unprivileged user, as PostgreSQL requires.
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
_UNPRIVILEGED_UID = 65534
_EXIT_NOT_PERMITTED = 77
_VARIABLE = "ADPLATFORM_SMALL_DISK"
_TIMEOUT_S = 300


def on_small_disk(size_mb: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Runs the test in its own process, where the folder of the fixture `small_disk` has a capacity of `size_mb`.

    Skips the test if the kernel does not permit namespaces.
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
                timeout=_TIMEOUT_S,
                check=False,
            )
            if done.returncode == _EXIT_NOT_PERMITTED:
                pytest.skip(done.stderr.strip())
            if done.returncode != 0:
                pytest.fail(done.stdout + done.stderr, pytrace=False)

        return outside

    return decorate


def small_disk_folder(folder: Path) -> Path:
    """The value of the fixture `small_disk`: the small filesystem in the test's own process, otherwise `folder`."""
    return Path(os.environ.get(_VARIABLE, folder))


class Filler:
    """Fills the remaining space of a filesystem, and frees it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "filler"

    def fill(self) -> None:
        """Writes until no byte is free."""
        with self._file.open("ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """Frees the space."""
        self._file.unlink(missing_ok=True)


def main(size_mb: str, folder: str, command: list[str]) -> None:
    """Mounts the small filesystem and replaces this process by the command."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS) != 0:
        print(f"namespaces are not permitted here: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        sys.exit(_EXIT_NOT_PERMITTED)
    for name, value in {
        "setgroups": "deny",
        "uid_map": f"{_UNPRIVILEGED_UID} {user} 1",
        "gid_map": f"{_UNPRIVILEGED_UID} {group} 1",
    }.items():
        Path(f"/proc/self/{name}").write_text(value)
    if libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, f"size={size_mb}m,mode=755".encode()) != 0:
        print(f"mounting is not permitted here: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        sys.exit(_EXIT_NOT_PERMITTED)
    os.execv(command[0], command)  # noqa: S606  # the interpreter that runs us, no shell


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
