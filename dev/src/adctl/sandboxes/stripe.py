"""The customer of the Stripe sandbox."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from adctl.sandboxes.client import call
from adctl.state import State


class Outcome(StrEnum):
    """The result of a card payment."""

    SUCCEED = "succeed"
    DECLINE = "decline"


class Card(StrEnum):
    """Stripe's test cards; a refund to the last one stays pending until `end-refund` decides it."""

    VISA = "pm_card_visa"
    PENDING_REFUND = "pm_card_pendingRefund"


def pay_intent(
    state: State, payment_id: UUID | str, outcome: Outcome = Outcome.SUCCEED, card: Card = Card.VISA
) -> dict[str, Any]:
    """Confirm the payment's intent as its customer and return the intent; SandboxError if there is no such payment."""
    body = {"payment_id": str(payment_id), "outcome": outcome.value, "card": card.value}
    return call(state, "stripe", "POST", "/sandbox/pay", body)
