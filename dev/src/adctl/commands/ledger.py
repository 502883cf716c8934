"""`adctl ledger`."""

import typer

from adctl.commands.context import console, current_state, print_plain

app = typer.Typer(help="The double-entry ledger.", no_args_is_help=True)


@app.command("verify")
def verify_ledger() -> None:
    """Recompute every balance from the transfers; exit code 1 when a sum or a difference is not 0."""
    from adctl.operations import ledger

    found = ledger.verify(current_state())
    if not found:
        console.print("there are no accounts yet")
    for books in found:
        console.print("[green]✓[/]" if ledger.is_sound(books) else "[red]✗[/]", end=" ")
        print_plain(ledger.summary(books))
        for line in ledger.differing_payments(books):
            print_plain(f"  {line}")
    if not all(map(ledger.is_sound, found)):
        raise typer.Exit(1)
