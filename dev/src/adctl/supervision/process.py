"""The description of a process for the supervisor, and the published view of its state."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from adctl.supervision.children import SAME_USER, Identity
from adctl.supervision.probes import Probe


@dataclass(frozen=True, kw_only=True)
class Process:
    """A server, a task that ends by itself (`once`), or a step without a command, which is its `prepare` alone."""

    name: str
    command: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    """Names of the processes that must be ready, or done, before this one starts."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    once: bool = False
    prepare: Callable[[], None] | None = None
    """Runs in a thread before each start; an exception is the reason why the process did not start."""
    ready: Probe | None = None
    """The health check. None: the process is ready as soon as it runs."""
    port: int | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    identity: Identity = SAME_USER
    folder: Path | None = None
    """Its working directory; None: the supervisor's."""


class Phase(StrEnum):
    """The state of a process."""

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
    """A process as status.json and `adctl status` show it."""

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
    """The state of the whole platform."""

    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True)
class Snapshot:
    """The platform at one moment."""

    phase: PlatformPhase
    processes: tuple[ProcessView, ...]
    reason: str = ""
    """Why it failed."""

    @property
    def is_healthy(self) -> bool:
        """Whether every process is ready or done."""
        healthy = (Phase.READY, Phase.DONE)
        return self.phase is PlatformPhase.UP and all(view.phase in healthy for view in self.processes)
