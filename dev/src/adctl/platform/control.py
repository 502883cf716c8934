"""Starts, finds and stops the platform of a state folder, for the commands and for tests."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from adctl import ports
from adctl.errors import UserError
from adctl.platform import display
from adctl.platform.status import Guard, Publisher, Running, acquire_lock, find, last, publish
from adctl.state import DEFAULT_GATEWAY_PORT, Paths, State, load, prepare
from adctl.supervision import disk
from adctl.supervision.logs import LogCollector, RotatingFile, open_log, rotate_standard_output, tail
from adctl.supervision.process import PlatformPhase, Snapshot
from adctl.supervision.supervisor import Supervisor

_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 40.0


class StartFailed(UserError):
    """The platform did not start; the text is the reason."""


def run(paths: Paths, console: Console, *, port: int = DEFAULT_GATEWAY_PORT, workspace: Path | None = None) -> None:
    """Run the platform until a signal stops it; StartFailed, or UserError when it cannot start.

    With a workspace, the processes that a change of its source affects are reloaded.
    """
    started_at = time.monotonic()
    requests: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: requests.append(number))
    with ExitStack() as stack:
        _require_disk(paths)
        stack.enter_context(acquire_lock(paths))
        guard = stack.enter_context(Guard(paths))
        try:
            _require_free(port)
            session = _Session(prepare(paths.home, port), console, started_at)
            reason = session.supervise(guard, workspace, lambda: len(requests))
        except UserError as error:
            with disk.ignored_refusals():
                publish(paths, Snapshot(PlatformPhase.FAILED, (), str(error)))
            raise
    if reason:
        raise StartFailed(reason)
    with disk.ignored_refusals():
        console.print("the platform has stopped")


class _Session:
    """One run of the platform as its user sees it: the console, adctl's own log and status.json."""

    def __init__(self, state: State, console: Console, started_at: float) -> None:
        self._state = state
        self._console = console
        self._started_at = started_at
        self._phase = PlatformPhase.STARTING
        self._log_path = state.paths.log("adctl")
        self._stack = ExitStack()
        self._log: RotatingFile | None = None
        if not _is_standard_output(self._log_path):
            self._log = RotatingFile(self._log_path)
        self._show = self._stack.enter_context(display.starting(console))
        self._publisher = Publisher(state.paths, self.report)

    def supervise(self, guard: Guard, workspace: Path | None, stop_requests: Callable[[], int]) -> str:
        """Run all processes; return why the start failed, or ""."""
        from adctl.platform.environment import inherited
        from adctl.platform.processes import platform_processes

        with ExitStack() as stack:
            stack.callback(self._stack.close)
            supervisor = Supervisor(
                platform_processes(self._state),
                logs=LogCollector(self._state.paths.log),
                groups=guard,
                on_change=self._show_change,
                report=self.report,
                on_poll=self._publisher.retry,
                environment=inherited(os.environ, self._state),
            )
            if workspace is not None:
                from adctl.platform.reload import Reloader
                from adctl.platform.workspace import Workspace

                reloader = stack.enter_context(Reloader(Workspace(workspace), self.report))

                def on_poll() -> None:
                    self._publisher.retry()
                    reloader.apply(supervisor)

                supervisor.on_poll = on_poll
            return supervisor.run(stop_requests)

    def report(self, text: str) -> None:
        """Print a line with the time, and append it to adctl's log."""
        line = f"{time.strftime('%H:%M:%S')} {text}"
        with disk.ignored_refusals():
            if self._log is None:
                rotate_standard_output(self._log_path)
            else:
                self._log.write(f"{line}\n".encode())
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _show_change(self, snapshot: Snapshot) -> None:
        self._publisher.publish(snapshot)
        with disk.ignored_refusals():
            if self._phase is PlatformPhase.STARTING:
                self._show(snapshot)
            if snapshot.phase is self._phase:
                return
            self._phase = snapshot.phase
            self._stack.close()
            if self._phase is PlatformPhase.UP:
                display.print_welcome(self._console, self._state, time.monotonic() - self._started_at)
            elif self._phase is PlatformPhase.STOPPING:
                self._console.print("stopping …")


def _is_standard_output(log: Path) -> bool:
    """Whether this process's standard output is its log, as after `adctl up --detach`."""
    try:
        return os.path.samestat(log.stat(), os.fstat(1))
    except FileNotFoundError:
        return False


def require_workspace(folder: Path) -> Path:
    """Return the root of the source tree that contains the folder; UserError if none does."""
    from adctl.platform.workspace import Workspace

    return Workspace.containing(folder).root


def find_serving(paths: Paths) -> Running | None:
    """Return the platform that is starting or up here; waits for the end of one that is stopping."""
    running = find(paths)
    if running is not None and running.snapshot.phase in (PlatformPhase.STOPPING, PlatformPhase.FAILED):
        wait_until_ended(running)
        return None
    return running


def start_detached(
    paths: Paths, console: Console, *, port: int = DEFAULT_GATEWAY_PORT, workspace: Path | None = None
) -> State:
    """Start the platform in the background, wait until it is up and return its state; StartFailed.

    If one is running already, wait until that one is up; its port and workspace stay unchanged.
    """
    running = find_serving(paths)
    if running is None:
        # Checked here too: the child could not write the reason into its log.
        _require_disk(paths)
        with open_log(paths.log("adctl")) as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "adctl", "up", "--port", str(port), *(["--reload"] if workspace else [])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=workspace,
                env={**os.environ, "ADPLATFORM_HOME": str(paths.home)},
            )
        _wait_until_up(paths, console, child.pid, has_ended=lambda: child.poll() is not None)
    elif running.snapshot.phase is not PlatformPhase.UP:
        _wait_until_up(paths, console, running.pid, has_ended=lambda: find(paths) is None)
    return load(paths.home)


def _wait_until_up(paths: Paths, console: Console, pid: int, *, has_ended: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    with display.starting(console) as show:
        while True:
            ended = has_ended()
            published = last(paths)
            snapshot = published[1] if published and published[0] == pid else None
            if snapshot is not None and snapshot.phase is PlatformPhase.UP and not ended:
                show(snapshot)
                return
            if ended:
                raise StartFailed(f"{_failure_reason(paths, snapshot)}\nthe log is {paths.log('adctl')}")
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGTERM)
                raise StartFailed(f"it was not up after {_START_TIMEOUT_S:.0f} s; the log is {paths.log('adctl')}")
            if snapshot is not None:
                show(snapshot)
            time.sleep(0.1)


def _failure_reason(paths: Paths, snapshot: Snapshot | None) -> str:
    if snapshot is not None and snapshot.reason:
        return snapshot.reason
    return "\n  ".join(["the platform ended while it was starting; its last lines:", *tail(paths.log("adctl"), 8)])


def stop(paths: Paths) -> Running | None:
    """Stop the platform and return its last state, or None if none was running; UserError if it does not stop."""
    running = find(paths)
    if running is None:
        return None
    import psutil

    # The lock proves that a supervisor runs; for an instant the number in its file can be that of an earlier one.
    if not any("adctl" in part for part in psutil.Process(running.pid).cmdline()):
        raise UserError(f"process {running.pid} is not adctl; try again in a moment")
    os.kill(running.pid, signal.SIGTERM)
    wait_until_ended(running)
    return running


def wait_until_ended(running: Running) -> None:
    """Wait until a platform that is stopping has ended; UserError after 40 s."""
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while _is_alive(running.pid):
        if time.monotonic() > deadline:
            raise UserError(f"the platform (pid {running.pid}) has not stopped after {_STOP_TIMEOUT_S:.0f} s")
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _require_disk(paths: Paths) -> None:
    """Create the folders and check that they can be written to; StartFailed."""
    paths.make()
    if reason := disk.write_failure([paths.run, paths.logs, paths.data]):
        raise StartFailed(f"{reason}; free some space and try again")


def _require_free(port: int) -> None:
    try:
        is_free = ports.is_free(port)
    except PermissionError:
        raise UserError(f"port {port} is for root only; choose another: adctl up --port 8080") from None
    if not is_free:
        raise UserError(
            f"port {port} is taken by {ports.holder(port)}; stop it, or choose another port: adctl up --port {port + 1}"
        )
