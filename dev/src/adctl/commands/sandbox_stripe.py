"""`adctl sandbox stripe`: the customer, the customer's bank and Stripe's dashboard."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer

from adctl.commands.context import console, current_state
from adctl.sandboxes.client import call
from adctl.sandboxes.stripe import Card, Outcome, pay_intent

app = typer.Typer(help="The customer, the customer's bank and Stripe's dashboard.", no_args_is_help=True)


class RefundOutcome(StrEnum):
    """The end of a refund; the customer's bank can also fail a refund that succeeded."""

    SUCCEED = "succeed"
    FAIL = "fail"


class DisputeStep(StrEnum):
    """A step of a dispute; `inquire` opens an inquiry, which takes no money."""

    OPEN = "open"
    INQUIRE = "inquire"
    REVIEW = "review"
    WIN = "win"
    LOSE = "lose"


PaidPaymentId = Annotated[UUID, typer.Argument(help="A payment that succeeded.")]
MinorUnits = Annotated[int | None, typer.Option(min=1, help="In cents; by default all that is left.")]


@app.command()
def pay(
    payment_id: Annotated[UUID, typer.Argument(help="The id that POST /payments/create returned.")],
    outcome: Annotated[Outcome, typer.Option(help="Whether the card is accepted.")] = Outcome.SUCCEED,
    card: Annotated[Card, typer.Option(help="How refunds to it behave.")] = Card.VISA,
) -> None:
    """Pay as the customer; Stripe's webhook follows."""
    intent = pay_intent(current_state(), payment_id, outcome, card)
    result = "paid" if intent["status"] == "succeeded" else "declined"
    console.print(f"{intent['id']} is {result}; the webhook is on its way", highlight=False)


@app.command()
def refund(payment_id: PaidPaymentId, amount: MinorUnits = None) -> None:
    """Refund a payment at Stripe's dashboard, past the platform; Stripe's webhooks follow."""
    body = {"payment_id": str(payment_id), "amount": amount}
    made = call(current_state(), "stripe", "POST", "/sandbox/refund", body)
    console.print(f"{made['id']} is {made['status']}; the webhooks are on their way", highlight=False)


@app.command("end-refund")
def end_refund(
    refund_id: Annotated[str, typer.Argument(help="Stripe's id of the refund, re_…")],
    outcome: Annotated[RefundOutcome, typer.Option(help="How it ends.")] = RefundOutcome.SUCCEED,
) -> None:
    """Complete or fail a refund as the customer's bank."""
    ended = call(current_state(), "stripe", "POST", f"/sandbox/refunds/{refund_id}/{outcome.value}")
    console.print(f"{ended['id']} has {ended['status']}; the webhook is on its way", highlight=False)


@app.command()
def dispute(
    payment_id: PaidPaymentId,
    outcome: Annotated[DisputeStep, typer.Option(help="The step to take.")] = DisputeStep.OPEN,
    amount: MinorUnits = None,
) -> None:
    """Open a dispute of a payment, or take its next step; Stripe's webhooks follow."""
    body = {"payment_id": str(payment_id), "outcome": outcome.value, "amount": amount}
    made = call(current_state(), "stripe", "POST", "/sandbox/dispute", body)
    console.print(f"{made['id']} is {made['status']}; the webhooks are on their way", highlight=False)
