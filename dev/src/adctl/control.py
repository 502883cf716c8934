"""Starting, finding and stopping the platform of a state folder; what the commands and other tools call."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

from rich.console import Console

from adctl import disk, display, ports
from adctl.children import ChildError
from adctl.logs import open_log, tail
from adctl.process import PlatformPhase, Process, Snapshot
from adctl.state import DEFAULT_GATEWAY_PORT, Paths, State, load, prepare
from adctl.status import Guard, Publisher, Running, find, last, publish, take_lock
from adctl.supervisor import Supervisor

_START_SECONDS = 120.0
_STOP_SECONDS = 40.0


class StartFailed(ChildError):
    """The platform did not start; the text is the reason."""


def run(
    paths: Paths, console: Console, *, port: int = DEFAULT_GATEWAY_PORT, table: Callable[[State], list[Process]]
) -> None:
    """Run the platform until a signal asks it to stop; StartFailed, or ChildError when it cannot."""
    began = time.monotonic()
    requests: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: requests.append(number))
    with ExitStack() as stack:
        _require_disk(paths)
        stack.enter_context(take_lock(paths))
        guard = stack.enter_context(Guard(paths))
        try:
            _require_free(port)
            state = prepare(paths.home, port)
            reason = _supervise(state, console, guard, table(state), requests, began)
        except ChildError as error:
            with disk.tolerated():
                publish(paths, Snapshot(PlatformPhase.FAILED, (), str(error)))
            raise
    if reason:
        raise StartFailed(reason)
    with disk.tolerated():
        console.print("the platform has stopped")


def _supervise(
    state: State, console: Console, guard: Guard, table: list[Process], requests: list[int], began: float
) -> str:
    from adctl.platform import inherited

    with open_log(state.paths.log("adctl")) as log, ExitStack() as stack:
        # Started with --detach, what we print goes there as it is.
        in_log_already = os.path.samestat(os.fstat(log.fileno()), os.fstat(1))
        show = stack.enter_context(display.starting(console))
        phase = PlatformPhase.STARTING

        def say(text: str) -> None:
            line = f"{time.strftime('%H:%M:%S')} {text}"
            with disk.tolerated():
                if not in_log_already:
                    log.write(f"{line}\n".encode())
                console.print(line, highlight=False, markup=False, soft_wrap=True)

        publisher = Publisher(state.paths, say)

        def changed(snapshot: Snapshot) -> None:
            nonlocal phase
            publisher.publish(snapshot)
            with disk.tolerated():
                if phase is PlatformPhase.STARTING:
                    show(snapshot)
                if snapshot.phase is not phase:
                    phase = snapshot.phase
                    stack.close()
                    if phase is PlatformPhase.UP:
                        display.print_welcome(console, state, time.monotonic() - began)
                    elif phase is PlatformPhase.STOPPING:
                        console.print("stopping …")

        supervisor = Supervisor(
            table,
            log=state.paths.log,
            groups=guard,
            on_change=changed,
            say=say,
            each_turn=publisher.retry,
            environment=inherited(os.environ, state),
        )
        return supervisor.run(lambda: len(requests))


def find_serving(paths: Paths) -> Running | None:
    """Return the platform that runs here, starting or up; one that is on its way out is waited for and is none."""
    running = find(paths)
    if running is not None and running.snapshot.phase in (PlatformPhase.STOPPING, PlatformPhase.FAILED):
        wait_until_ended(running)
        return None
    return running


def start_detached(paths: Paths, console: Console, *, port: int = DEFAULT_GATEWAY_PORT) -> State:
    """Start the platform in the background, wait until it is up and return its state; StartFailed.

    A platform that runs already is returned as it is, after its start if it is starting.
    """
    running = find_serving(paths)
    if running is None:
        # Not left to the child, whose reason could not be written into its log.
        _require_disk(paths)
        with open_log(paths.log("adctl")) as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "adctl", "up", "--port", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "ADPLATFORM_HOME": str(paths.home)},
            )
        _wait_until_up(paths, console, child.pid, ended=lambda: child.poll() is not None)
    elif running.snapshot.phase is not PlatformPhase.UP:
        _wait_until_up(paths, console, running.pid, ended=lambda: find(paths) is None)
    return load(paths.home)


def _wait_until_up(paths: Paths, console: Console, pid: int, *, ended: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with display.starting(console) as show:
        while True:
            over = ended()
            said = last(paths)
            snapshot = said[1] if said and said[0] == pid else None
            if snapshot is not None and snapshot.phase is PlatformPhase.UP and not over:
                show(snapshot)
                return
            if over:
                raise StartFailed(f"{_why(paths, snapshot)}\nthe log is {paths.log('adctl')}")
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGTERM)
                raise StartFailed(f"it was not up after {_START_SECONDS:.0f} s; the log is {paths.log('adctl')}")
            if snapshot is not None:
                show(snapshot)
            time.sleep(0.1)


def _why(paths: Paths, snapshot: Snapshot | None) -> str:
    if snapshot is not None and snapshot.reason:
        return snapshot.reason
    return "\n  ".join(["the platform ended while it was starting; it said:", *tail(paths.log("adctl"), 8)])


def stop(paths: Paths) -> Running | None:
    """Stop the platform and return what ran, or None when none did; ChildError when it does not stop."""
    running = find(paths)
    if running is None:
        return None
    import psutil

    # The lock says that this is a supervisor; the number beside it could be an older one's for an instant.
    if not any("adctl" in part for part in psutil.Process(running.pid).cmdline()):
        raise ChildError(f"process {running.pid} is not adctl; try again in a moment")
    os.kill(running.pid, signal.SIGTERM)
    wait_until_ended(running)
    return running


def wait_until_ended(running: Running) -> None:
    """Wait until a platform that is stopping has gone; ChildError when it takes too long."""
    deadline = time.monotonic() + _STOP_SECONDS
    while _is_there(running.pid):
        if time.monotonic() > deadline:
            raise ChildError(f"the platform (pid {running.pid}) has not stopped after {_STOP_SECONDS:.0f} s")
        time.sleep(0.05)


def _is_there(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _require_disk(paths: Paths) -> None:
    """Make the folders and try whether something can be written into them; StartFailed."""
    paths.make()
    if why := disk.trouble([paths.run, paths.logs, paths.data]):
        raise StartFailed(f"{why}; make room and try again")


def _require_free(port: int) -> None:
    try:
        free = ports.is_free(port)
    except PermissionError:
        raise ChildError(f"port {port} is for root only; choose another: adctl up --port 8080") from None
    if not free:
        raise ChildError(
            f"port {port} is taken by {ports.holder(port)}; stop it, or choose another port: adctl up --port {port + 1}"
        )
