"""`adctl sandbox wise`: what other banks do with the platform's account at Wise."""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console

# Method, path and body of a control request; its answer.
Ask = Callable[..., dict[str, Any]]

_TRANSFER = "A payout's id, as POST /publishers/payout answered it, or a transfer's number, as `send` printed it."
_AMOUNT = "Units of the currency, such as 500 or 12.34."

console = Console()


def commands(ask: Ask) -> typer.Typer:
    """The commands; `ask` asks the sandbox, and raises for people what it refuses."""
    app = typer.Typer(help="Other banks, that send to Wise and receive from it.", no_args_is_help=True)

    @app.command()
    def bounce(
        payout_id: Annotated[str, typer.Argument(help=_TRANSFER)],
        returned: Annotated[str, typer.Option(help="How much comes back; all of it and the fee unless given.")] = "",
    ) -> None:
        """Let the recipient's bank send a payout or a refund back; the webhooks follow by themselves."""
        transfer = ask("POST", f"/sandbox/transfers/{payout_id}/bounce", {"returned": returned} if returned else {})
        console.print(f"transfer {transfer['id']} bounces; the webhooks are on their way", highlight=False)

    @app.command("return")
    def give_back(
        payout_id: Annotated[str, typer.Argument(help=_TRANSFER)],
        amount: Annotated[str, typer.Argument(help=_AMOUNT)],
    ) -> None:
        """Let more come back of a transfer that bounced in part; the webhook follows by itself."""
        transfer = ask("POST", f"/sandbox/transfers/{payout_id}/return", {"amount": amount})
        console.print(f"{amount} more of transfer {transfer['id']} came back", highlight=False)

    @app.command()
    def charge_back(payout_id: Annotated[str, typer.Argument(help=_TRANSFER)]) -> None:
        """Let what a transfer has sent be taken back at once; the webhooks follow by themselves."""
        transfer = ask("POST", f"/sandbox/transfers/{payout_id}/charge-back")
        console.print(f"transfer {transfer['id']} is charged back", highlight=False)

    @app.command()
    def send(
        amount: Annotated[str, typer.Argument(help=_AMOUNT)],
        currency: Annotated[str, typer.Option(help="ISO 4217.")] = "USD",
        reference: Annotated[str, typer.Option(help="What the recipient reads.")] = "refund",
    ) -> None:
        """Send money by hand, as staff do for a refund; its number is what sentAs wants."""
        sent = ask("POST", "/sandbox/transfers", {"currency": currency, "amount": amount, "reference": reference})
        console.print(f"{amount} {currency} sent with the transfer", highlight=False)
        print(sent["id"])

    @app.command()
    def deposit(
        reference: Annotated[str, typer.Argument(help="What the sender writes; POST /payments/create told it.")],
        amount: Annotated[str, typer.Argument(help=_AMOUNT)],
        currency: Annotated[str, typer.Option(help="ISO 4217.")] = "USD",
        sender: Annotated[str, typer.Option(help="Who sends it.")] = "Ada Zone",
    ) -> None:
        """Let a customer transfer money to the platform; the webhook follows by itself."""
        body = {"currency": currency, "amount": amount, "reference": reference, "sender_name": sender}
        number = ask("POST", "/sandbox/incoming", body)["referenceNumber"]
        console.print(f"{number} has arrived; the webhook is on its way", highlight=False)

    @app.command()
    def recall(
        reference_number: Annotated[str, typer.Argument(help="The one that `deposit` printed.")],
        amount: Annotated[str, typer.Option(help="How much of it; all that is left unless given.")] = "",
    ) -> None:
        """Let the sender's bank take a transfer back, or a part of it; the webhook follows by itself."""
        ask("POST", f"/sandbox/incoming/{reference_number}/recall", {"amount": amount} if amount else {})
        console.print(f"{reference_number} was taken back; the webhook is on its way", highlight=False)

    return app
