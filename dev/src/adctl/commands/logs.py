"""`adctl logs`."""

from typing import Annotated

import typer

from adctl.commands.context import current_paths
from adctl.errors import UserError

# Of each process, when the logs of all are printed.
_MAX_LINES_PER_PROCESS = 10

app = typer.Typer()


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="A process; all processes without it.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print lines as they are appended.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
) -> None:
    """Print the end of the processes' logs."""
    from adctl.supervision import logs as files

    paths = current_paths()
    known = {path.stem: path for path in sorted(paths.logs.glob("*.log"))}
    if name is not None and name not in known:
        raise UserError(f"there is no log of {name!r}; there are: {', '.join(known) or 'none yet'}")
    chosen = {name: known[name]} if name else known
    width = max((len(key) for key in chosen), default=0)

    def show(key: str, line: str) -> None:
        print(line if name else f"{key:<{width}} | {line}", flush=follow)

    followed = files.follow(chosen) if follow else iter(())
    for key, path in chosen.items():
        for line in files.tail(path, lines if name else min(lines, _MAX_LINES_PER_PROCESS)):
            show(key, line)
    try:
        for key, line in followed:
            show(key, line)
    except KeyboardInterrupt:
        return
