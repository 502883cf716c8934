"""The memory that processes use."""

import psutil


def tree_bytes(pid: int) -> int | None:
    """Return the bytes that a process and its descendants use; None if it has ended.

    A page that n processes share counts 1/n in each (PSS).
    """
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return None
    return sum(_bytes(process) for process in family)


def _bytes(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", 0) or full.rss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
