"""What the supervisor is told about a process, and what it tells others about it."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from adctl.children import SAME_USER, Identity
from adctl.probes import Probe


@dataclass(frozen=True, kw_only=True)
class Process:
    """A server, a task that ends by itself (`once`), or a step of our own that has no command, only `prepare`."""

    name: str
    command: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    """Names of those that must be ready, or done, before this one starts."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    once: bool = False
    prepare: Callable[[], None] | None = None
    """Done in a thread before each start; what it raises is the reason why the process did not start."""
    ready: Probe | None = None
    """None: it is ready as soon as it runs."""
    port: int | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    identity: Identity = SAME_USER
    folder: Path | None = None
    """Where it runs; None is where we do."""


class Phase(StrEnum):
    """Where a process is in its life."""

    WAITING = "waiting"
    PREPARING = "preparing"
    STARTING = "starting"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    RESTARTING = "restarting"
    DONE = "done"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class ProcessView:
    """What is to be seen of one process."""

    name: str
    phase: Phase
    once: bool = False
    pid: int | None = None
    port: int | None = None
    restarts: int = 0
    since: float = 0.0
    """When it entered its phase, in seconds since 1970."""
    note: str = ""


class PlatformPhase(StrEnum):
    """Where the whole platform is in its life."""

    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True)
class Snapshot:
    """What is to be seen of the platform at one moment."""

    phase: PlatformPhase
    processes: tuple[ProcessView, ...]
    reason: str = ""
    """Why it failed."""

    @property
    def well(self) -> bool:
        """Whether everything is up and ready."""
        good = (Phase.READY, Phase.DONE)
        return self.phase is PlatformPhase.UP and all(view.phase in good for view in self.processes)
