"""Starts processes in the order of their needs, watches, restarts and reloads them, and stops them in reverse order."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from adctl.supervision.children import kill_group, spawn
from adctl.supervision.logs import LogCollector, error_line, tail
from adctl.supervision.managed import LIVE, SATISFIED, ManagedProcess
from adctl.supervision.process import Phase, PlatformPhase, Process, Snapshot

_MIN_RESTART_DELAY_S = 0.2
_MAX_RESTART_DELAY_S = 10.0
_STABLE_AFTER_S = 30.0
_MAX_FAILED_PROBES = 3
_MAX_EARLY_EXITS = 3
_STARTING_PROBE_INTERVAL_S = 0.05
_FAILURE_LOG_LINES = 12
_ERROR_SEARCH_LINES = 200


class Groups(Protocol):
    """Is notified of every process group that the supervisor leads."""

    def started(self, pid: int) -> None:
        """A group started."""

    def ended(self, pid: int) -> None:
        """A group ended, with all its members."""


@dataclass
class Supervisor:
    """Runs processes until asked to stop. Only probes and preparations run outside of the caller's thread.

    That must be the main thread: the kernel ends the children when the thread that started them ends.
    """

    processes: Sequence[Process]
    logs: LogCollector
    groups: Groups
    on_change: Callable[[Snapshot], None] = lambda snapshot: None
    report: Callable[[str], None] = lambda text: None
    on_poll: Callable[[], None] = lambda: None
    """Called several times a second."""
    environment: Mapping[str, str] = field(default_factory=dict)
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 10.0
    probe_interval_s: float = 5.0

    def __post_init__(self) -> None:
        self._managed = {process.name: ManagedProcess(process) for process in self.processes}
        unknown = {need for process in self.processes for need in process.needs} - self._managed.keys()
        if unknown:
            raise ValueError(f"no process is named {', '.join(sorted(unknown))}")
        self._phase = PlatformPhase.STARTING
        self._reason = ""
        self._published: Snapshot | None = None
        self._pool = ThreadPoolExecutor(4, "adctl")

    def snapshot(self) -> Snapshot:
        """Return the state of all processes."""
        return Snapshot(self._phase, tuple(one.view() for one in self._managed.values()), self._reason)

    def run(self, stop_requests: Callable[[], int]) -> str:
        """Run until a stop is requested or the start fails; return why it failed, or "".

        `stop_requests` returns how many times a stop was requested; at the second all processes are killed.
        """
        try:
            while not stop_requests() and self._phase is not PlatformPhase.FAILED:
                for one in self._managed.values():
                    self._advance(one, time.monotonic())
                if self._phase is PlatformPhase.STARTING and self._all_satisfied():
                    self._phase = PlatformPhase.UP
                self._publish()
                time.sleep(0.02 if self._phase is PlatformPhase.STARTING else 0.1)
            self._stop(stop_requests)
        finally:
            for one in self._managed.values():
                if one.child is not None:
                    kill_group(one.child.pid)
            self._pool.shutdown(wait=False, cancel_futures=True)
            self.logs.close()
        return self._reason

    def reload(self, names: Iterable[str]) -> None:
        """Stop these processes and start each again once its needs are ready; call it from `on_poll`.

        A process that does not become ready is reported and then waits for its next reload.
        """
        for name in names:
            self._managed[name].must_reload = True

    def _advance(self, one: ManagedProcess, now: float) -> None:
        if one.must_reload and one.phase is not Phase.PREPARING:
            self._stop_to_reload(one, now)
        elif one.phase is Phase.WAITING:
            if all(self._managed[need].phase in SATISFIED for need in one.spec.needs):
                self._start(one)
        elif one.phase is Phase.RESTARTING:
            if now >= one.restart_at:
                self._start(one)
        elif one.phase is Phase.PREPARING:
            self._spawn_if_prepared(one, now)
        elif one.phase in LIVE:
            if one.child is not None and one.child.poll() is not None:
                self._handle_exit(one, now)
            elif not one.spec.once:
                self._probe(one, now)

    def _start(self, one: ManagedProcess) -> None:
        self._enter(one, Phase.PREPARING)
        one.started_at = time.monotonic()
        one.work = self._pool.submit(one.spec.prepare) if one.spec.prepare else None

    def _spawn_if_prepared(self, one: ManagedProcess, now: float) -> None:
        if one.work is not None:
            if not one.work.done():
                return
            error, one.work = one.work.exception(), None
            if error is not None:
                self._handle_failure(one, str(error) or type(error).__name__, now)
                return
        if not one.spec.command:
            self._enter(one, Phase.DONE)
            return
        try:
            with self.logs.open(one.name) as log:
                one.child = spawn(
                    one.spec.command,
                    stop_signal=one.spec.stop_signal,
                    identity=one.spec.identity,
                    environment={**self.environment, **one.spec.environment},
                    log=log,
                    folder=one.spec.folder,
                )
        except (OSError, subprocess.SubprocessError) as error:
            self._handle_failure(one, str(error), now)
            return
        self.groups.started(one.child.pid)
        one.failed_probes, one.probe_at = 0, now
        self._enter(one, Phase.STARTING)

    def _probe(self, one: ManagedProcess, now: float) -> None:
        """Start a health check in a thread, or handle the result of one that is done."""
        if one.spec.ready is None or one.child is None:
            if one.phase is Phase.STARTING:
                self._handle_ready(one)
            return
        if one.work is None:
            if now >= one.probe_at:
                one.work = self._pool.submit(one.spec.ready, one.child.pid)
            return
        if not one.work.done():
            return
        is_good, one.work = one.work.exception() is None and bool(one.work.result()), None
        if one.phase is Phase.STARTING:
            one.probe_at = now + _STARTING_PROBE_INTERVAL_S
            if is_good:
                self._handle_ready(one)
            elif now - one.started_at > self.start_timeout_s:
                self._handle_start_timeout(one, f"{one.name} was not ready within {self.start_timeout_s:g} s")
            return
        one.probe_at = now + self.probe_interval_s
        one.failed_probes = 0 if is_good else one.failed_probes + 1
        if one.phase is Phase.READY and one.failed_probes >= _MAX_FAILED_PROBES:
            self._enter(one, Phase.UNHEALTHY, "does not answer its health check")
            self.report(f"{one.name} does not answer its health check")
        elif one.phase is Phase.UNHEALTHY and is_good:
            self._enter(one, Phase.READY)
            self.report(f"{one.name} is healthy again")

    def _handle_ready(self, one: ManagedProcess) -> None:
        one.probe_at = time.monotonic() + self.probe_interval_s
        one.was_ready = True
        self._enter(one, Phase.READY, one.note)
        if one.is_reloading:
            one.is_reloading = False
            self.report(f"{one.name} is reloaded after {time.monotonic() - one.started_at:.1f} s")
        elif one.restarts:
            self.report(f"{one.name} is back")

    def _handle_start_timeout(self, one: ManagedProcess, reason: str) -> None:
        if self._phase is PlatformPhase.STARTING:
            self._fail(one, reason)
        elif one.is_reloading:
            one.is_reloading = False
            self._enter(one, Phase.UNHEALTHY, reason)
            self.report(reason)

    def _handle_exit(self, one: ManagedProcess, now: float) -> None:
        how = self._reap(one)
        if one.spec.once and how == "ended with code 0":
            one.is_reloading = False
            self._enter(one, Phase.DONE)
        else:
            self._handle_failure(one, how, now)

    def _handle_failure(self, one: ManagedProcess, how: str, now: float) -> None:
        if one.is_reloading:
            self._fail_reload(one, how)
            return
        is_first_start = self._phase is PlatformPhase.STARTING and not one.was_ready
        if one.spec.once or not one.spec.command or (is_first_start and one.restarts + 1 >= _MAX_EARLY_EXITS):
            self._fail(one, f"{one.name} {how}" if how.startswith("ended") else f"{one.name}: {how}")
            return
        is_stable = now - one.started_at >= _STABLE_AFTER_S
        delay_s = one.restart_delay_s * 2
        one.restart_delay_s = _MIN_RESTART_DELAY_S if is_stable or not delay_s else min(delay_s, _MAX_RESTART_DELAY_S)
        one.restarts += 1
        one.restart_at = now + one.restart_delay_s
        self._enter(one, Phase.RESTARTING, how)
        self.report(
            f"{one.name} {how}; it is started again in {one.restart_delay_s:g} s (its log: {self.logs.path(one.name)})"
        )

    def _fail_reload(self, one: ManagedProcess, how: str) -> None:
        """Leave the process stopped until its code changes again: the same code would only fail again."""
        one.is_reloading = False
        lines = tail(self.logs.path(one.name), _ERROR_SEARCH_LINES) if how.startswith("ended") else [how]
        self._enter(one, Phase.FAILED, error_line(lines))
        self.report(f"{one.name} does not start: {one.note}; the next change starts it again")

    def _fail(self, one: ManagedProcess, reason: str) -> None:
        lines = tail(self.logs.path(one.name), _FAILURE_LOG_LINES) if one.spec.command else []
        self._reason = "\n".join([reason, *(f"  {line}" for line in lines)])
        self._enter(one, Phase.FAILED, reason)
        self._phase = PlatformPhase.FAILED

    def _reap(self, one: ManagedProcess) -> str:
        """Kill the remaining members of an ended child's group, complete its log, and return how it ended."""
        child, one.child, one.work, one.kill_at = one.child, None, None, None
        if child is None:
            return "ended"
        kill_group(child.pid)
        self.groups.ended(child.pid)
        self.logs.drain(one.name)
        code = child.returncode
        return f"ended with code {code}" if code >= 0 else f"ended by {signal.Signals(-code).name}"

    def _stop_to_reload(self, one: ManagedProcess, now: float) -> None:
        if one.child is not None and one.child.poll() is None:
            self._stop_child(one, one.child, now)
            return
        self._reap(one)
        one.must_reload, one.is_reloading, one.restart_delay_s = False, True, 0.0
        self._enter(one, Phase.WAITING)

    def _stop_child(self, one: ManagedProcess, child: "subprocess.Popen[bytes]", now: float) -> None:
        """Ask a child to stop, and kill it after the stop timeout."""
        if one.kill_at is None:
            child.send_signal(one.spec.stop_signal)
            one.kill_at = now + self.stop_timeout_s
            if one.phase is not Phase.FAILED:
                self._enter(one, Phase.STOPPING)
        elif now > one.kill_at:
            self.report(f"{one.name} did not stop within {self.stop_timeout_s:g} s and is killed")
            kill_group(child.pid)

    def _stop(self, stop_requests: Callable[[], int]) -> None:
        if self._phase is not PlatformPhase.FAILED:
            self._phase = PlatformPhase.STOPPING
        requests = stop_requests()
        while live := [one for one in self._managed.values() if one.child is not None]:
            needed = {name for one in live for name in self._all_needs(one.spec)}
            must_kill = stop_requests() > max(requests, 1)
            for one in live:
                self._stop_in_order(one, is_needed=one.name in needed, must_kill=must_kill)
            self._publish()
            time.sleep(0.02)
        for one in self._managed.values():
            if one.phase not in (Phase.DONE, Phase.FAILED, Phase.STOPPED):
                self._enter(one, Phase.STOPPED)
        self._publish()

    def _stop_in_order(self, one: ManagedProcess, *, is_needed: bool, must_kill: bool) -> None:
        child = one.child
        if child is None:
            return
        if child.poll() is not None:
            self._reap(one)
            if one.phase is not Phase.FAILED:
                self._enter(one, Phase.STOPPED)
        elif must_kill:
            kill_group(child.pid)
        elif one.kill_at is not None or not is_needed:
            self._stop_child(one, child, time.monotonic())

    def _all_needs(self, process: Process) -> set[str]:
        """Return the processes that it needs, directly and indirectly."""
        found: set[str] = set()
        left = list(process.needs)
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left.extend(self._managed[name].spec.needs)
        return found

    def _all_satisfied(self) -> bool:
        return all(one.phase in SATISFIED for one in self._managed.values())

    def _enter(self, one: ManagedProcess, phase: Phase, note: str = "") -> None:
        one.phase, one.since, one.note = phase, time.time(), note

    def _publish(self) -> None:
        self.on_poll()
        snapshot = self.snapshot()
        if snapshot != self._published:
            self._published = snapshot
            self.on_change(snapshot)
