"""The command `adctl`: the local platform. Each command imports what it needs when it runs, so that all start fast."""

import sys

import typer
from rich.console import Console

from adctl.commands import jobs, keys, ledger, logs, payments, platform
from adctl.errors import UserError
from adctl.supervision.children import disable_grpc_fork_support
from adctl.supervision.disk import is_refusal

app = typer.Typer(
    help="The ad platform on this machine: real servers, all six services, sandboxes of outside systems.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(platform.app)
app.add_typer(logs.app)
app.add_typer(jobs.app, name="jobs")
app.add_typer(keys.app, name="keys")
app.add_typer(ledger.app, name="ledger")
app.add_typer(payments.app, name="payments")


def main() -> None:
    """Run the command; a failure that the user can act on is printed as a sentence."""
    disable_grpc_fork_support()
    if sys.argv[1:2] in ([], ["--help"], ["sandbox"]):  # it imports an HTTP client and a database driver: 0.3 s
        from adctl.commands.sandbox import app as sandbox_app

        app.add_typer(sandbox_app, name="sandbox")
    try:
        app()
    except UserError as error:
        _fail(str(error))
    except PermissionError as error:
        _fail(f"{error.filename} may not be used by you: {error.strerror}")
    except OSError as error:
        if not is_refusal(error):
            raise
        where = f"{error.filename} cannot be written" if error.filename else "nothing can be written"
        _fail(f"{where}: {error.strerror}; free some space and try again")


def _fail(text: str) -> None:
    errors = Console(stderr=True)
    errors.print("[red]error:[/] ", end="")
    errors.print(text, highlight=False, markup=False, soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
