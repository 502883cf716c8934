"""The supervisor's record of a process."""

import subprocess
from concurrent.futures import Future
from dataclasses import dataclass

from adctl.supervision.process import Phase, Process, ProcessView

LIVE = (Phase.STARTING, Phase.READY, Phase.UNHEALTHY, Phase.STOPPING)
SATISFIED = (Phase.READY, Phase.UNHEALTHY, Phase.DONE)


@dataclass
class ManagedProcess:
    """A process of the platform and its state. Times without `since` are of the monotonic clock, in seconds."""

    spec: Process
    phase: Phase = Phase.WAITING
    since: float = 0.0
    """When it entered its phase, in seconds since 1970."""
    child: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    note: str = ""
    started_at: float = 0.0
    was_ready: bool = False
    restart_delay_s: float = 0.0
    restart_at: float = 0.0
    kill_at: float | None = None
    """When it is killed, once it was asked to stop."""
    probe_at: float = 0.0
    failed_probes: int = 0
    work: "Future[object] | None" = None
    """Its preparation or its health check, while one runs."""
    must_reload: bool = False
    """Its code changed: it has to be stopped and started again."""
    is_reloading: bool = False
    """It starts with changed code and has not been ready yet."""

    @property
    def name(self) -> str:
        """The process's name."""
        return self.spec.name

    def view(self) -> ProcessView:
        """Return the process as snapshots show it."""
        pid = self.child.pid if self.child and self.phase in LIVE else None
        return ProcessView(
            self.name, self.phase, self.spec.once, pid, self.spec.port, self.restarts, self.since, self.note
        )
