"""`adctl sandbox wise`: the banks that send money to the platform's Wise account or receive it from there."""

from typing import Annotated, Any

import typer

from adctl.commands.context import console, current_state
from adctl.sandboxes.client import call

app = typer.Typer(help="The banks that send to Wise and receive from it.", no_args_is_help=True)

TransferId = Annotated[
    str, typer.Argument(help="A payout's id, as POST /publishers/payout returned it, or a transfer's number.")
]
Amount = Annotated[str, typer.Argument(help="Units of the currency, such as 500 or 12.34.")]
Currency = Annotated[str, typer.Option(help="ISO 4217.")]


@app.command()
def bounce(
    payout_id: TransferId,
    returned: Annotated[str, typer.Option(help="The amount that comes back; by default all and the fee.")] = "",
) -> None:
    """Return a payout or a refund as the recipient's bank; Wise's webhooks follow."""
    transfer = _post(f"/sandbox/transfers/{payout_id}/bounce", **({"returned": returned} if returned else {}))
    console.print(f"transfer {transfer['id']} bounces; the webhooks are on their way", highlight=False)


@app.command("return")
def return_more(payout_id: TransferId, amount: Amount) -> None:
    """Return a further part of a transfer that bounced in part; Wise's webhook follows."""
    transfer = _post(f"/sandbox/transfers/{payout_id}/return", amount=amount)
    console.print(f"{amount} more of transfer {transfer['id']} came back", highlight=False)


@app.command()
def charge_back(payout_id: TransferId) -> None:
    """Charge a sent transfer back at once; Wise's webhooks follow."""
    transfer = _post(f"/sandbox/transfers/{payout_id}/charge-back")
    console.print(f"transfer {transfer['id']} is charged back", highlight=False)


@app.command()
def send(
    amount: Amount,
    currency: Currency = "USD",
    reference: Annotated[str, typer.Option(help="The reference that the recipient reads.")] = "refund",
) -> None:
    """Send money by hand, as staff do for a refund; prints the transfer's number, which `sentAs` takes."""
    sent = _post("/sandbox/transfers", currency=currency, amount=amount, reference=reference)
    console.print(f"{amount} {currency} sent with the transfer", highlight=False)
    print(sent["id"])


@app.command()
def deposit(
    reference: Annotated[str, typer.Argument(help="The reference that POST /payments/create returned.")],
    amount: Amount,
    currency: Currency = "USD",
    sender: Annotated[str, typer.Option(help="The sender's name.")] = "Ada Zone",
) -> None:
    """Transfer money to the platform as a customer; Wise's webhook follows."""
    received = _post(
        "/sandbox/incoming", currency=currency, amount=amount, reference=reference, sender_name=sender
    )["referenceNumber"]  # fmt: skip
    console.print(f"{received} has arrived; the webhook is on its way", highlight=False)


@app.command()
def recall(
    reference_number: Annotated[str, typer.Argument(help="The number that `deposit` printed.")],
    amount: Annotated[str, typer.Option(help="The amount to take back; by default all that is left.")] = "",
) -> None:
    """Take a deposit back, or a part of it, as the sender's bank; Wise's webhook follows."""
    _post(f"/sandbox/incoming/{reference_number}/recall", **({"amount": amount} if amount else {}))
    console.print(f"{reference_number} was taken back; the webhook is on its way", highlight=False)


def _post(path: str, **body: Any) -> dict[str, Any]:
    return call(current_state(), "wise", "POST", path, body)
