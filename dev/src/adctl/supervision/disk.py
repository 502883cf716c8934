"""Writes that a full or broken disk refuses."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
_PAGE = 4096


def is_refusal(error: OSError) -> bool:
    """Whether the error means that the disk is full, broken, read-only or over its quota."""
    return error.errno in _REFUSALS


@contextmanager
def ignored_refusals() -> Iterator[None]:
    """Ignore errors of writes in the block that the disk refuses."""
    try:
        yield
    except OSError as error:
        if not is_refusal(error):
            raise


def write_failure(folders: Iterable[Path]) -> str:
    """Return why one of these folders cannot be written to, or "".

    Writes a file to find out: the free space does not show a quota, a broken disk or a read-only mount.
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
