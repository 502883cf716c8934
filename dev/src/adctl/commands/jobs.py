"""`adctl jobs`."""

from functools import partial
from typing import Annotated, Any

import typer

from adctl.commands.context import console, current_state, print_plain

app = typer.Typer(help="The scheduled jobs.", no_args_is_help=True)


@app.command("run")
def run_job(name: Annotated[str, typer.Argument(help="Such as sync-stats.")]) -> None:
    """Run a job now; exit code 1 when the job or one of its items failed."""
    from adctl.keys import OPERATOR, Keys
    from adctl.operations import jobs

    job = jobs.named(name)
    state = current_state()
    result = jobs.run(state.gateway_url, job, partial(Keys(state.paths.keys).service_token, OPERATOR))
    _print(name, result, jobs.failure_lines(result))
    if not result.get("success"):
        raise typer.Exit(1)


@app.command("list")
def list_jobs() -> None:
    """List the jobs and their schedules (crontab expressions, UTC)."""
    from adctl.operations.jobs import find

    for job in find().values():
        console.print(f"{job.name:<26} {job.schedule or 'only by hand'}", highlight=False)


@app.command("cloud-scheduler")
def cloud_scheduler(
    parent: Annotated[str, typer.Argument(help="Where: projects/PROJECT/locations/LOCATION.")],
    gateway_url: Annotated[str, typer.Argument(help="The gateway's public URL.")],
    service_account: Annotated[str, typer.Argument(help="The e-mail address of the scheduler's service account.")],
) -> None:
    """Print the schedules as Cloud Scheduler's jobs, in JSON."""
    import json

    from adctl.operations.cloud_scheduler import resources

    print_plain(json.dumps(resources(parent, gateway_url, service_account), indent=2))


def _print(name: str, result: dict[str, Any], failures: list[str]) -> None:
    succeeded, stats = bool(result.get("success")), result.get("stats", {})
    console.print(
        f"[{'green' if succeeded else 'red'}]{name} {'succeeded' if succeeded else 'failed'}[/]", highlight=False
    )
    if result.get("message"):
        console.print(f"  {result['message']}", highlight=False, markup=False)
    counts = (f"{stats.get(key, 0)} {label}" for key, label in
              (("total", "items"), ("successCount", "done"), ("errorCount", "failed")))  # fmt: skip
    console.print(f"  {', '.join(counts)} in {stats.get('durationMs', 0)} ms", highlight=False)
    for line in failures:
        print_plain(f"  {line}")
    if quarantined := stats.get("quarantinedCount"):
        console.print(f"  {quarantined} in quarantine: `adctl payments quarantine list`", highlight=False)
