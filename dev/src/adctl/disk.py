"""What a disk refuses that is full or broken: passed over where the platform can go on without, and named."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
_PAGE = 4096


def is_refusal(error: OSError) -> bool:
    """Say whether it is the disk that refuses, and not we who asked for something wrong."""
    return error.errno in _REFUSALS


@contextmanager
def tolerated() -> Iterator[None]:
    """Go on after a refusal of the disk."""
    try:
        yield
    except OSError as error:
        if not is_refusal(error):
            raise


def trouble(folders: Iterable[Path]) -> str:
    """Say why nothing can be written into one of these folders, or nothing where something can.

    By trying: a quota, a broken disk and one that is mounted read-only do not show in the free space.
    """
    for folder in folders:
        probe = folder / f".probe.{os.getpid()}"
        try:
            with probe.open("wb", buffering=0) as file:
                file.write(b"\0" * _PAGE)
                os.fsync(file.fileno())
        except OSError as error:
            if is_refusal(error):
                return f"nothing can be written in {folder}: {error.strerror}"
        finally:
            with suppress(OSError):
                probe.unlink()
    return ""
