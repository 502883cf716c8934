"""Starts processes in the order of their needs, watches and restarts them, and stops them in reverse."""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from adctl.children import kill_group, spawn
from adctl.logs import open_log, tail
from adctl.process import Phase, PlatformPhase, Process, ProcessView, Snapshot

_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 10.0
_STEADY_SECONDS = 30.0
_UNHEALTHY_AFTER = 3
_EARLY_DEATHS = 3
_LIVE = (Phase.STARTING, Phase.READY, Phase.UNHEALTHY, Phase.STOPPING)
_SATISFIED = (Phase.READY, Phase.UNHEALTHY, Phase.DONE)


class Groups(Protocol):
    """Somebody who is told of every process group that we lead."""

    def began(self, pid: int) -> None:
        """A group begins."""

    def ended(self, pid: int) -> None:
        """A group has ended, with everyone in it."""


@dataclass
class _Job:
    """A process and what became of it so far."""

    spec: Process
    phase: Phase = Phase.WAITING
    since: float = 0.0
    child: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    note: str = ""
    began_at: float = 0.0
    was_ready: bool = False
    delay: float = 0.0
    due_at: float = 0.0
    stop_by: float | None = None
    health_at: float = 0.0
    bad_probes: int = 0
    work: "Future[object] | None" = None

    def view(self) -> ProcessView:
        pid = self.child.pid if self.child and self.phase in _LIVE else None
        return ProcessView(
            self.spec.name, self.phase, self.spec.once, pid, self.spec.port, self.restarts, self.since, self.note
        )


@dataclass
class Supervisor:
    """Runs processes until told to stop. Everything but probes and preparations happens in the caller's thread.

    That must be the main thread: the kernel ties the children's lives to it.
    """

    processes: Sequence[Process]
    log: Callable[[str], Path]
    groups: Groups
    on_change: Callable[[Snapshot], None] = lambda snapshot: None
    say: Callable[[str], None] = lambda text: None
    each_turn: Callable[[], None] = lambda: None
    """Called some times a second, for what has to be tried again."""
    environment: Mapping[str, str] = field(default_factory=dict)
    start_timeout_seconds: float = 60.0
    stop_grace_seconds: float = 10.0
    health_every_seconds: float = 5.0

    def __post_init__(self) -> None:
        self._jobs = {process.name: _Job(process) for process in self.processes}
        unknown = {need for process in self.processes for need in process.needs} - self._jobs.keys()
        if unknown:
            raise ValueError(f"nothing is named {', '.join(sorted(unknown))}")
        self._phase = PlatformPhase.STARTING
        self._reason = ""
        self._shown: Snapshot | None = None
        self._pool = ThreadPoolExecutor(4, "adctl")

    def snapshot(self) -> Snapshot:
        """Return how things stand."""
        return Snapshot(self._phase, tuple(job.view() for job in self._jobs.values()), self._reason)

    def run(self, stop_requests: Callable[[], int]) -> str:
        """Run until a stop is requested (twice: at once) or the start fails; return why it failed, or nothing."""
        try:
            while not stop_requests() and self._phase is not PlatformPhase.FAILED:
                for job in self._jobs.values():
                    self._advance(job, time.monotonic())
                if self._phase is PlatformPhase.STARTING and self._all_satisfied():
                    self._phase = PlatformPhase.UP
                self._show()
                time.sleep(0.02 if self._phase is PlatformPhase.STARTING else 0.1)
            self._stop(stop_requests)
        finally:
            for job in self._jobs.values():
                if job.child is not None:
                    kill_group(job.child.pid)
            self._pool.shutdown(wait=False, cancel_futures=True)
        return self._reason

    def _advance(self, job: _Job, now: float) -> None:
        if job.phase is Phase.WAITING:
            if all(self._jobs[need].phase in _SATISFIED for need in job.spec.needs):
                self._begin(job)
        elif job.phase is Phase.RESTARTING:
            if now >= job.due_at:
                self._begin(job)
        elif job.phase is Phase.PREPARING:
            self._after_preparation(job, now)
        elif job.phase in _LIVE:
            if job.child is not None and job.child.poll() is not None:
                self._ended(job, now)
            elif not job.spec.once:
                self._check(job, now)

    def _begin(self, job: _Job) -> None:
        self._enter(job, Phase.PREPARING)
        job.began_at = time.monotonic()
        job.work = self._pool.submit(job.spec.prepare) if job.spec.prepare else None

    def _after_preparation(self, job: _Job, now: float) -> None:
        if job.work is not None:
            if not job.work.done():
                return
            error, job.work = job.work.exception(), None
            if error is not None:
                self._could_not_start(job, str(error) or type(error).__name__, now)
                return
        if not job.spec.command:
            self._enter(job, Phase.DONE)
            return
        try:
            with open_log(self.log(job.spec.name)) as log:
                job.child = spawn(
                    job.spec.command,
                    stop_signal=job.spec.stop_signal,
                    identity=job.spec.identity,
                    environment={**self.environment, **job.spec.environment},
                    log=log,
                    folder=job.spec.folder,
                )
        except (OSError, subprocess.SubprocessError) as error:
            self._could_not_start(job, str(error), now)
            return
        self.groups.began(job.child.pid)
        job.bad_probes, job.health_at = 0, now
        self._enter(job, Phase.STARTING)

    def _check(self, job: _Job, now: float) -> None:
        """Ask the process how it is, in a thread, and take the answer at a later turn."""
        if job.spec.ready is None or job.child is None:
            if job.phase is Phase.STARTING:
                self._is_ready(job)
            return
        if job.work is None:
            if now >= job.health_at:
                job.work = self._pool.submit(job.spec.ready, job.child.pid)
            return
        if not job.work.done():
            return
        good, job.work = job.work.exception() is None and bool(job.work.result()), None
        if job.phase is Phase.STARTING:
            job.health_at = now + 0.05
            if good:
                self._is_ready(job)
            elif self._phase is PlatformPhase.STARTING and now - job.began_at > self.start_timeout_seconds:
                self._fail(job, f"{job.spec.name} was not ready within {self.start_timeout_seconds:g} s")
            return
        job.health_at = now + self.health_every_seconds
        job.bad_probes = 0 if good else job.bad_probes + 1
        if job.phase is Phase.READY and job.bad_probes >= _UNHEALTHY_AFTER:
            self._enter(job, Phase.UNHEALTHY, "does not answer its health check")
            self.say(f"{job.spec.name} does not answer its health check")
        elif job.phase is Phase.UNHEALTHY and good:
            self._enter(job, Phase.READY)
            self.say(f"{job.spec.name} is healthy again")

    def _is_ready(self, job: _Job) -> None:
        job.health_at = time.monotonic() + self.health_every_seconds
        job.was_ready = True
        self._enter(job, Phase.READY, job.note)
        if job.restarts:
            self.say(f"{job.spec.name} is back")

    def _ended(self, job: _Job, now: float) -> None:
        how = self._reap(job)
        if not job.spec.once:
            self._could_not_start(job, how, now)
        elif how == "ended with code 0":
            self._enter(job, Phase.DONE)
        else:
            self._fail(job, f"{job.spec.name} {how}")

    def _could_not_start(self, job: _Job, how: str, now: float) -> None:
        never_ready = self._phase is PlatformPhase.STARTING and not job.was_ready
        if job.spec.once or not job.spec.command or (never_ready and job.restarts + 1 >= _EARLY_DEATHS):
            self._fail(job, f"{job.spec.name} {how}" if how.startswith("ended") else f"{job.spec.name}: {how}")
            return
        steady = now - job.began_at >= _STEADY_SECONDS
        job.delay = _FIRST_DELAY_SECONDS if steady or not job.delay else min(job.delay * 2, _LONGEST_DELAY_SECONDS)
        job.restarts += 1
        job.due_at = now + job.delay
        self._enter(job, Phase.RESTARTING, how)
        self.say(f"{job.spec.name} {how}; it is started again in {job.delay:g} s (its log: {self.log(job.spec.name)})")

    def _fail(self, job: _Job, reason: str) -> None:
        lines = tail(self.log(job.spec.name), 12) if job.spec.command else []
        self._reason = "\n".join([reason, *(f"  {line}" for line in lines)])
        self._enter(job, Phase.FAILED, reason)
        self._phase = PlatformPhase.FAILED

    def _reap(self, job: _Job) -> str:
        """Forget a child that has ended, with what it left of its group, and say how it ended."""
        child, job.child, job.work = job.child, None, None
        if child is None:
            return "ended"
        kill_group(child.pid)
        self.groups.ended(child.pid)
        code = child.returncode
        return f"ended with code {code}" if code >= 0 else f"ended by {signal.Signals(-code).name}"

    def _stop(self, stop_requests: Callable[[], int]) -> None:
        if self._phase is not PlatformPhase.FAILED:
            self._phase = PlatformPhase.STOPPING
        requests = stop_requests()
        while live := [job for job in self._jobs.values() if job.child is not None]:
            needed = {name for job in live for name in self._needs_of(job.spec)}
            force = stop_requests() > max(requests, 1)
            for job in live:
                self._stop_one(job, needed=job.spec.name in needed, force=force)
            self._show()
            time.sleep(0.02)
        for job in self._jobs.values():
            if job.phase not in (Phase.DONE, Phase.FAILED, Phase.STOPPED):
                self._enter(job, Phase.STOPPED)
        self._show()

    def _stop_one(self, job: _Job, *, needed: bool, force: bool) -> None:
        child, now = job.child, time.monotonic()
        if child is None:
            return
        if child.poll() is not None:
            self._reap(job)
            if job.phase is not Phase.FAILED:
                self._enter(job, Phase.STOPPED)
        elif force:
            kill_group(child.pid)
        elif job.stop_by is None:
            if not needed:
                child.send_signal(job.spec.stop_signal)
                job.stop_by = now + self.stop_grace_seconds
                if job.phase is not Phase.FAILED:
                    self._enter(job, Phase.STOPPING)
        elif now > job.stop_by:
            self.say(f"{job.spec.name} did not stop within {self.stop_grace_seconds:g} s and is killed")
            kill_group(child.pid)

    def _needs_of(self, process: Process) -> set[str]:
        """Return what it needs, and what those need."""
        found: set[str] = set()
        left = list(process.needs)
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left.extend(self._jobs[name].spec.needs)
        return found

    def _all_satisfied(self) -> bool:
        return all(job.phase in _SATISFIED for job in self._jobs.values())

    def _enter(self, job: _Job, phase: Phase, note: str = "") -> None:
        job.phase, job.since, job.note = phase, time.time(), note

    def _show(self) -> None:
        self.each_turn()
        snapshot = self.snapshot()
        if snapshot != self._shown:
            self._shown = snapshot
            self.on_change(snapshot)
