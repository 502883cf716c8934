"""What carries money in, whichever it is, and what it tells of that. Amounts are micros of the payment's currency."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from payment_service.payments.model import Payment, State
from payment_service.payouts.model import State as PayoutState

# A header of a webhook by its lower-case name; empty where it was not sent.
Header = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Arrival:
    """Money that the provider has seen, under a key that is its own for ever.

    Not `is_final`: it may vanish again, and is credited only once it is said to be final. `asset_amount` is in the
    asset's smallest unit, `rate` the units of the currency for one unit of the asset; both stay empty where the money
    is the currency itself. `detail` is what else the customer is shown: fields of the contract's Deposit, by their
    names, such as `chain` or `sender_name`.
    """

    key: str
    amount_micros: int
    currency_code: str
    is_final: bool = True
    asset: str = ""
    asset_amount: int | None = None
    rate: Decimal | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """How a payment stands at its provider, and what has arrived for it as far as the report tells.

    `state` is one of PENDING, PROCESSING, SUCCEEDED, FAILED, EXPIRED; SUCCEEDED means that nothing more will come.
    `instructions` is how to pay: the fields of the contract's instructions of this provider, by their names.
    """

    external_id: str
    state: State
    arrivals: Sequence[Arrival] = ()
    failure_message: str = ""
    instructions: Mapping[str, Any] = field(default_factory=dict)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RefundReport:
    """How a refund stands; `refund_id` is None where it was not made by us. `state` is the contract's Refund.State."""

    external_id: str
    refund_id: UUID | None
    payment_id: UUID
    amount_micros: int
    state: str
    failure_message: str = ""


@dataclass(frozen=True, slots=True)
class DisputeReport:
    """How a dispute stands: OPEN (the money is withheld), WON (it came back) or LOST.

    `fee_micros` is what the provider takes for it.
    """

    external_id: str
    payment_id: UUID
    amount_micros: int
    state: str
    reason: str = ""
    fee_micros: int = 0


@dataclass(frozen=True, slots=True)
class PaymentNews:
    """A report on one of our payments."""

    payment_id: UUID
    report: Report


@dataclass(frozen=True, slots=True)
class UnmatchedNews:
    """Money that no payment of ours was found for."""

    arrival: Arrival


@dataclass(frozen=True, slots=True)
class PayoutNews:
    """How a payout's bank transfer stands."""

    transfer_id: str
    state: PayoutState
    reason: str


News = PaymentNews | RefundReport | DisputeReport | UnmatchedNews | PayoutNews


@dataclass(frozen=True, slots=True)
class Event:
    """What a provider told at once, under the id by which it tells it again; no news: nothing that concerns us."""

    id: str
    kind: str
    news: Sequence[News] = ()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A refund to be made; `sent_as` is what staff sent it with where the provider does not send it itself."""

    refund_id: UUID
    amount_micros: int
    sent_as: str


class Provider(Protocol):
    """Takes customers' payments, and gives them back.

    Everything that asks the outside answers or raises UNAVAILABLE within 8 seconds.
    """

    def check(self, choice: Mapping[str, Any], currency_code: str) -> Mapping[str, Any]:
        """What the customer chose, complete and as it is to be kept: CryptoChoice's fields by their names.

        Asks nobody. The errors that CreatePayment has for it, CURRENCY_UNSUPPORTED where it cannot be paid in.
        """
        ...

    def open(self, payment: Payment) -> Report:
        """Opens the payment, once for its id however often it is asked; PROVIDER_REJECTED."""
        ...

    def look_up(self, payment: Payment) -> Report:
        """How an opened payment stands; PROVIDER_REJECTED where the provider does not know it."""
        ...

    def close(self, payment: Payment) -> Report:
        """Makes sure, as far as it can be, that an opened payment cannot be paid any more; how it stands then."""
        ...

    def refund(self, payment: Payment, outgoing: Outgoing) -> RefundReport:
        """Gives money back, once for the refund's id; PROVIDER_REJECTED, REFUND_NOT_SEEN."""
        ...

    def event(self, body: bytes, header: Header) -> Event:
        """What a webhook says; SIGNATURE_INVALID."""
        ...

    def missed(self, since: datetime) -> Iterable[Event]:
        """What happened since then, for those who may have missed a webhook, oldest first; the same ids as theirs."""
        ...
