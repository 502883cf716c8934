"""Reloads the processes whose source changes: `adctl up --reload`.

A Python file that cannot be parsed, or a contract that cannot be generated, reloads nothing. Code that fails when it
starts is reported by the supervisor, and its process waits for the next change.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from watchfiles import DefaultFilter, watch

from adctl.errors import UserError
from adctl.platform.workspace import Workspace, syntax_errors
from adctl.supervision.process import PlatformPhase
from adctl.supervision.supervisor import Supervisor

# Writes of an editor or a checkout are one change until 0.1 s pass without a write, at most 1 s after the first.
_QUIET_MS = 100
_MAX_DEBOUNCE_MS = 1_000
_MAX_NAMED_FILES = 3


@dataclass(frozen=True)
class Change:
    """The effect of changed files: lines to report and processes to reload."""

    messages: tuple[str, ...]
    processes: tuple[str, ...]


class Reloader:
    """Watches a workspace in a thread and reloads the processes that its changes affect; a context manager."""

    def __init__(self, workspace: Workspace, report: Callable[[str], None]) -> None:
        self._workspace = workspace
        self._report = report
        self._changes: queue.SimpleQueue[Change] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="source watcher", daemon=True)

    def __enter__(self) -> "Reloader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(5)

    def apply(self, supervisor: Supervisor) -> None:
        """Reload the processes affected by changes since the last call; call it from the supervisor's thread.

        Does nothing until the platform is up.
        """
        if supervisor.snapshot().phase is not PlatformPhase.UP:
            return
        while not self._changes.empty():
            change = self._changes.get()
            for message in change.messages:
                self._report(message)
            supervisor.reload(change.processes)

    def _watch(self) -> None:
        batches = watch(
            *self._workspace.sources(),
            watch_filter=DefaultFilter(),
            debounce=_MAX_DEBOUNCE_MS,
            step=_QUIET_MS,
            stop_event=self._stopping,
            raise_interrupt=False,
        )
        for batch in batches:
            change = examine(self._workspace, {Path(path) for _, path in batch})
            if change.messages:
                self._changes.put(change)


def examine(workspace: Workspace, paths: set[Path]) -> Change:
    """Decide which processes the changed files reload; generates the contract if a .proto is among them."""
    changed = {path: names for path in sorted(paths) if (names := workspace.affected(path))}
    if not changed:
        return Change((), ())
    messages: list[str] = []
    blocked: set[str] = set()
    for path, reason in syntax_errors(changed).items():
        messages.append(f"{workspace.name(path)}{reason}; running processes are not reloaded")
        blocked.update(changed[path])
    if any(path.suffix == ".proto" for path in changed):
        try:
            workspace.generate_contract()
        except UserError as error:
            messages.append(f"{error}; running processes are not reloaded")
            blocked.update(*(names for path, names in changed.items() if path.suffix == ".proto"))
    reloaded = tuple(dict.fromkeys(name for names in changed.values() for name in names if name not in blocked))
    if reloaded:
        files = [workspace.name(path) for path in changed]
        more = f" and {len(files) - _MAX_NAMED_FILES} more" if len(files) > _MAX_NAMED_FILES else ""
        messages.append(f"{', '.join(files[:_MAX_NAMED_FILES])}{more} changed: reloading {', '.join(reloaded)}")
    return Change(tuple(messages), reloaded)
