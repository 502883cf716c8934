"""`adctl sandbox wise`: what other banks do with the platform's account at Wise."""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

# Method, path and body of a control request; its answer.
Ask = Callable[..., dict[str, Any]]

console = Console()


def commands(ask: Ask) -> typer.Typer:
    """The commands; `ask` asks the sandbox, and raises for people what it refuses."""
    app = typer.Typer(help="Other banks, that send to Wise and receive from it.", no_args_is_help=True)

    @app.command()
    def bounce(
        payout_id: Annotated[UUID, typer.Argument(help="The id that POST /publishers/payout answered.")],
    ) -> None:
        """Let the recipient's bank send a payout back; the webhooks follow by themselves."""
        transfer = ask("POST", f"/sandbox/transfers/{payout_id}/bounce")
        console.print(f"transfer {transfer['id']} bounces; the webhooks are on their way", highlight=False)

    @app.command()
    def deposit(
        reference: Annotated[str, typer.Argument(help="What the sender writes; POST /payments/create told it.")],
        amount: Annotated[str, typer.Argument(help="Units of the currency, such as 500 or 12.34.")],
        currency: Annotated[str, typer.Option(help="ISO 4217.")] = "USD",
        sender: Annotated[str, typer.Option(help="Who sends it.")] = "Ada Zone",
    ) -> None:
        """Let a customer transfer money to the platform; the webhook follows by itself."""
        body = {"currency": currency, "amount": amount, "reference": reference, "sender_name": sender}
        number = ask("POST", "/sandbox/incoming", body)["referenceNumber"]
        console.print(f"{number} has arrived; the webhook is on its way", highlight=False)

    @app.command()
    def recall(reference_number: Annotated[str, typer.Argument(help="The one that `deposit` printed.")]) -> None:
        """Let the sender's bank take a transfer back; the webhook follows by itself."""
        ask("POST", f"/sandbox/incoming/{reference_number}/recall")
        console.print(f"{reference_number} was taken back; the webhook is on its way", highlight=False)

    return app
