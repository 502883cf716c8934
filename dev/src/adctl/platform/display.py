"""The platform's tables and messages on a terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from adctl.state import State
from adctl.supervision.process import Phase, ProcessView, Snapshot

_STYLES = {
    Phase.READY: "green",
    Phase.DONE: "green",
    Phase.WAITING: "dim",
    Phase.STOPPED: "dim",
    Phase.UNHEALTHY: "yellow",
    Phase.RESTARTING: "yellow",
    Phase.FAILED: "bold red",
}


def start_table(snapshot: Snapshot) -> Table:
    """Return the table that is shown while the platform starts."""
    table = Table("process", box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("state", min_width=len(Phase.RESTARTING))
    table.add_column("")
    for view in snapshot.processes:
        if view.once and view.phase in (Phase.DONE, Phase.WAITING):
            continue
        table.add_row(view.name, _phase(view), Text(view.note[:70] or _port(view), style="dim"))
    return table


def status_table(snapshot: Snapshot, memory: Callable[[int], int | None], *, supervisor_pid: int) -> Table:
    """Return the table of `adctl status`; `memory` returns the bytes of a process with its children."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("process", "state"):
        table.add_column(heading)
    for heading in ("pid", "port", "restarts", "memory", "since"):
        table.add_column(heading, justify="right")
    table.add_column("")
    total = 0
    for view in snapshot.processes:
        if view.once and view.phase is Phase.DONE:
            continue
        used = memory(view.pid) if view.pid else None
        total += used or 0
        table.add_row(
            view.name,
            _phase(view),
            str(view.pid or ""),
            str(view.port or ""),
            str(view.restarts or ""),
            f"{used / 2**20:.0f} MiB" if used else "",
            _age(time.time() - view.since) if view.since else "",
            Text(view.note[:60], style="dim"),
        )
    # The supervisor is the parent of all processes: its own memory is that of its tree minus theirs.
    everything = max(memory(supervisor_pid) or 0, total)
    table.add_row("adctl", "", str(supervisor_pid), "", "", f"{(everything - total) / 2**20:.0f} MiB", "", "")
    table.add_row("[bold]all", "", "", "", "", f"[bold]{everything / 2**20:.0f} MiB", "", "")
    return table


@contextmanager
def starting(console: Console) -> Iterator[Callable[[Snapshot], None]]:
    """Yield a function that shows the progress of a start: a live table on a terminal, else a line for each change."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda snapshot: live.update(start_table(snapshot), refresh=True)


class _Lines:
    """Prints a line for each process that becomes ready, is done, restarts or fails."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[str, Phase] = {}
        self._started_at = time.monotonic()

    def __call__(self, snapshot: Snapshot) -> None:
        for view in snapshot.processes:
            if self._shown.get(view.name) is view.phase:
                continue
            self._shown[view.name] = view.phase
            if view.phase in (Phase.READY, Phase.DONE, Phase.RESTARTING, Phase.FAILED):
                seconds = time.monotonic() - self._started_at
                self._console.print(f"{seconds:5.1f} s  {view.name} {view.phase}", highlight=False)


def print_welcome(console: Console, state: State, seconds: float | None = None) -> None:
    """Print the platform's URL, the admin's credentials and a first request to paste."""
    took = f" after {seconds:.1f} s" if seconds is not None else ""
    console.print(f"[bold green]The platform is up[/]{took}: [bold]{state.gateway_url}[/]", highlight=False)
    console.print(f"  admin     {state.admin_email}  password  {state.admin_password}", highlight=False, markup=False)
    console.print("  try       signing up an advertiser:\n", highlight=False)
    console.print(first_curl(state), highlight=False, markup=False, soft_wrap=True)
    console.print(
        "\n  `adctl status` shows the processes, `adctl logs NAME` their output, `adctl down` stops them",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def first_curl(state: State) -> str:
    """Return a shell command that signs up an advertiser."""
    body = (
        '{"email": "ann@example.com", "password": "correct horse battery staple",'
        ' "name": "Ann", "organizationName": "Ann\'\\\'\'s Shop"}'
    )
    return f"  curl -sS -X POST {state.gateway_url}/auth/signup -H 'content-type: application/json' \\\n    -d '{body}'"


def _phase(view: ProcessView) -> Text:
    return Text(str(view.phase), style=_STYLES.get(view.phase, "cyan"))


def _port(view: ProcessView) -> str:
    return f"port {view.port}" if view.port and view.phase is Phase.READY else ""


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
