"""Reports of providers, requests to them, and their errors.

Amounts are micros of the payment's currency unless a field says otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition, InvalidArgument, Unavailable
from payment_service.payments.model import IncomingFunds, Recall, Report


class ProviderNotAvailable(InvalidArgument):
    """The provider is not configured on this platform."""

    reason = ErrorReason.PROVIDER_NOT_AVAILABLE

    def __init__(self, provider: str, known: str) -> None:
        super().__init__(f"provider {provider} cannot be paid with here; use {known or 'none'}", provider=provider)


@dataclass(frozen=True, slots=True)
class Outage:
    """Why a provider cannot settle payments now, as a sentence without its full stop.

    `is_lasting`: new payments are refused; otherwise it may end in a moment, and they are still opened. `metadata` says
    which part of the provider is affected.
    """

    reason: str
    is_lasting: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)


class ProviderUnavailable(Unavailable):
    """The provider has a known outage."""

    reason = ErrorReason.PROVIDER_UNAVAILABLE
    retry_after_s = 30.0

    def __init__(self, provider: str, outage: Outage) -> None:
        super().__init__(
            f"{provider} cannot be paid with now: {outage.reason}; try again later or use another provider",
            provider=provider,
            reason=outage.reason,
            **outage.metadata,
        )


class ProviderRejected(FailedPrecondition):
    """The provider refused the request; `provider_message` is the provider's own."""

    reason = ErrorReason.PROVIDER_REJECTED

    def __init__(self, message: str) -> None:
        super().__init__(f"the payment provider refused: {message}")
        self.provider_message = message


class RefundNotSeen(FailedPrecondition):
    """The provider does not show a refund that staff sent by hand, or shows a different one."""

    reason = ErrorReason.REFUND_NOT_SEEN


class SignatureInvalid(InvalidArgument):
    """A webhook's signature is missing, forged or too old."""

    reason = ErrorReason.SIGNATURE_INVALID

    def __init__(self, header: str) -> None:
        super().__init__(f"the {header} header does not sign this body with the agreed key, or is too old")


class PayoutRejected(Exception):
    """The provider will never accept this step of the payout; the message is the provider's own."""


class QuoteExpired(PayoutRejected):
    """The quote has expired or was used: a new one is needed."""


@dataclass(frozen=True, slots=True)
class RefundReport:
    """A refund's status. `state` is the contract's Refund.State.

    `refund_id`: None if the refund was made at the provider itself. `currency_code`: empty for the payment's.
    `returned_micros`: the returned part of a FAILED refund; None: all of it. `pending_reason`: why a SUCCEEDED refund
    may still be reversed. `is_current`: the provider was asked just now. `is_final`: no outside party can reverse it.
    """

    external_id: str
    refund_id: UUID | None
    payment_id: UUID
    amount_micros: int
    state: str
    failure_message: str = ""
    currency_code: str = ""
    returned_micros: int | None = None
    pending_reason: str = ""
    is_current: bool = False
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class DisputeReport:
    """A dispute's status: OPEN (the money is withheld), WON (it was returned) or LOST; with the provider's fee."""

    external_id: str
    payment_id: UUID
    amount_micros: int
    currency_code: str
    state: str
    reason: str = ""
    fee_micros: int = 0


@dataclass(frozen=True, slots=True)
class PaymentUpdate:
    """A report on a payment."""

    payment_id: UUID
    report: Report


@dataclass(frozen=True, slots=True)
class UnmatchedFunds:
    """Incoming funds that no payment was found for."""

    funds: IncomingFunds


@dataclass(frozen=True, slots=True)
class ReversalReport:
    """The reversal of the incoming funds with this key; ignored if the key is unknown.

    `recall`: the part that the sender's bank recalled, possibly all; None: all that remains.
    """

    key: str
    recall: Recall | None = None


class TransferState(StrEnum):
    """The state of an outgoing bank transfer."""

    AWAITING_FUNDS = "AWAITING_FUNDS"
    PROCESSING = "PROCESSING"
    PAID = "PAID"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class TransferStatus:
    """A bank transfer's state, and why it failed or is late.

    `returned_micros`: the returned part of a FAILED transfer; None: all of it, or it was never sent.
    """

    state: TransferState
    reason: str = ""
    returned_micros: int | None = None


@dataclass(frozen=True, slots=True)
class PayoutReport:
    """The status of a payout's bank transfer."""

    transfer_id: str
    status: TransferStatus


ProviderUpdate = PaymentUpdate | RefundReport | DisputeReport | UnmatchedFunds | ReversalReport | PayoutReport


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """An event of a provider: `updates` is empty if it changes nothing here. Repeats of an event have the same id.

    A missed event has its time and the body that its webhook would have had. Its `updates` may be None: they are parsed
    from the body once it is known that the event was missed.
    """

    id: str
    kind: str
    updates: Sequence[ProviderUpdate] | None = ()
    at: datetime | None = None
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """A refund to send; `sent_as`: the id of a refund that staff sent by hand, if the provider sends none itself."""

    refund_id: UUID
    amount_micros: int
    sent_as: str


@dataclass(frozen=True, slots=True)
class SentRefund:
    """A refund that its provider has; `external_id` is the provider's id."""

    refund_id: UUID
    payment_id: UUID
    external_id: str
    amount_micros: int


@dataclass(frozen=True, slots=True)
class ManualRefund:
    """A refund that staff sent by hand, as its provider shows it; `block_number`: its block on a chain."""

    external_id: str
    amount_micros: int
    block_number: int | None = None


@dataclass(frozen=True, slots=True)
class BankAccount:
    """The destination of a payout: an IBAN, or a routing and an account number in the United States."""

    holder: str
    iban: str = ""
    routing_number: str = ""
    account_number: str = ""
