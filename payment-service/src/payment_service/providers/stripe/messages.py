"""Stripe's objects, from responses and events → model."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from adlib.money import CurrencyUnsupported, from_minor
from adlib.telemetry import logger
from payment_service.payments.model import IncomingFunds, Report, State
from payment_service.providers.model import DisputeReport, RefundReport

Json = Mapping[str, Any]

_PAYMENTS = {
    "requires_payment_method": State.PENDING,
    "requires_confirmation": State.PENDING,
    "requires_action": State.PENDING,
    "requires_capture": State.PROCESSING,
    "processing": State.PROCESSING,
    "succeeded": State.SUCCEEDED,
    "canceled": State.EXPIRED,
}
_REFUNDS = {
    "requires_action": "PENDING",
    "pending": "PENDING",
    "succeeded": "SUCCEEDED",
    "failed": "FAILED",
    "canceled": "FAILED",
}
# Statuses that move no money are left out: inquiries, and those settled before they became a dispute. A lost dispute
# stays LOST during an appeal.
_DISPUTES = {
    "needs_response": "OPEN",
    "under_review": "OPEN",
    "appeal_needs_response": "LOST",
    "appeal_under_review": "LOST",
    "lost": "LOST",
    "won": "WON",
}
_log = logger(__name__)


def payment_report(intent: Json) -> Report:
    """The status of an intent's payment."""
    state = _PAYMENTS.get(str(intent.get("status")), State.PENDING)
    message = ""
    if state is State.PENDING and (error := intent.get("last_payment_error")):
        state, message = State.FAILED, str(error.get("message") or "the payment was declined")
    elif state is State.EXPIRED:
        message = "cancelled"
    secret = intent.get("client_secret")
    return Report(
        external_id=str(intent.get("id")),
        state=state,
        incoming=_incoming(intent) if state is State.SUCCEEDED else (),
        failure_message=message,
        instructions={"client_secret": secret} if secret else {},
    )


def refund_report(refund: Json, payment_id: UUID, refund_id: UUID | None) -> RefundReport | None:
    """The refund's status; None if Stripe's status is unknown."""
    state, amount_micros = _REFUNDS.get(str(refund.get("status"))), _micros(refund, "amount")
    if state is None or not amount_micros:
        return None
    message = str(refund.get("failure_reason") or state.lower()).replace("_", " ") if state == "FAILED" else ""
    return RefundReport(
        str(refund.get("id")), refund_id, payment_id, amount_micros, state, message, _currency(refund)
    )  # fmt: skip


def dispute_report(dispute: Json, payment_id: UUID) -> DisputeReport | None:
    """The dispute's status; None if it moves no money."""
    state, amount_micros = _DISPUTES.get(str(dispute.get("status"))), _micros(dispute, "amount")
    if state is None or not amount_micros:
        return None
    return DisputeReport(
        external_id=str(dispute.get("id")),
        payment_id=payment_id,
        amount_micros=amount_micros,
        currency_code=_currency(dispute),
        state=state,
        reason=str(dispute.get("reason") or ""),
        fee_micros=_fee_micros(dispute),
    )


def ids(found: Json, *names: str) -> tuple[UUID | None, ...]:
    """The platform's ids in an object's metadata; None for each that is missing."""
    metadata = inner(found, "metadata")
    return tuple(_uuid(metadata.get(name)) for name in names)


def inner(outer: Json, name: str) -> Json:
    """The object inside an object; an empty one if there is none."""
    found = outer.get(name)
    return found if isinstance(found, Mapping) else {}


def _incoming(intent: Json) -> Sequence[IncomingFunds]:
    received_micros = _micros(intent, "amount_received")
    if received_micros <= 0:
        return ()
    return (IncomingFunds(str(intent.get("id")), received_micros, _currency(intent)),)


def _fee_micros(dispute: Json) -> int:
    """The fee that Stripe charged when it withdrew the money; a fee that Stripe returns is not counted."""
    withdrawn = [
        one
        for one in dispute.get("balance_transactions") or ()
        if isinstance(one, Mapping) and one.get("currency") == dispute.get("currency")
    ]
    return max((_micros(one, "fee") for one in withdrawn), default=0)


def _micros(found: Json, name: str) -> int:
    """An amount of the object; 0 in an unsupported currency, in which no payment can be."""
    amount_minor, currency_code = found.get(name), _currency(found)
    if not isinstance(amount_minor, int):
        return 0
    try:
        return from_minor(amount_minor, currency_code)
    except CurrencyUnsupported:
        _log.error("stripe_currency", id=found.get("id"), currency_code=currency_code)
        return 0


def _currency(found: Json) -> str:
    return str(found.get("currency")).upper()


def _uuid(text: object) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None
