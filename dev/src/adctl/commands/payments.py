"""`adctl payments quarantine`."""

from typing import Annotated

import typer

from adctl.commands.context import console, current_state, print_plain

app = typer.Typer(help="Customers' payments.", no_args_is_help=True)
quarantine_app = typer.Typer(help="Items that the settlement job stopped retrying.", no_args_is_help=True)
app.add_typer(quarantine_app, name="quarantine")

ItemId = Annotated[str, typer.Argument(metavar="ID", help="The id that `list` prints.")]


@quarantine_app.command("list")
def list_quarantined() -> None:
    """List the items that wait for an operator, newest first."""
    from adctl.operations import quarantine

    items = quarantine.list_items(current_state())
    if not items:
        console.print("nothing is in quarantine")
    for item in items:
        print_plain(quarantine.summary(item))


@quarantine_app.command("show")
def show_quarantined(id: ItemId) -> None:
    """Show an item and why it failed."""
    from adctl.operations import quarantine

    for line in quarantine.details(quarantine.get(current_state(), id)):
        print_plain(line)


@quarantine_app.command("retry")
def retry_quarantined(id: ItemId) -> None:
    """Return an item to the settlement job, once the cause of its failure is fixed."""
    from adctl.operations import quarantine

    quarantine.retry(current_state(), id)
    console.print("the next run of settle-payments tries it; `adctl jobs run settle-payments` does so now")


@quarantine_app.command("discard")
def discard_quarantined(
    id: ItemId,
    reason: Annotated[str, typer.Option("--reason", help="Why; stored for audits.")],
) -> None:
    """Exclude an item from settlement for good."""
    from adctl.operations import quarantine

    for line in quarantine.details(quarantine.discard(current_state(), id, reason)):
        print_plain(line)
