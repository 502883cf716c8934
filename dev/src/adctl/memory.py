"""How much memory processes use."""

import psutil


def of_tree(pid: int) -> int | None:
    """Return the bytes that a process and its descendants use, shared pages counted in shares; None when it is gone."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return None
    return sum(_one(process) for process in family)


def _one(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", 0) or full.rss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
