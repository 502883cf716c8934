"""What carries money in, whichever it is, and what it tells of that. Amounts are micros of the payment's currency."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.rpc import Runnable
from payment_service.payments.model import IncomingFunds, Payment, Recall, Report
from payment_service.payouts.model import State as PayoutState
from payment_service.providers.model import Outage

# A header of a webhook by its lower-case name; empty where it was not sent.
Header = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class RefundReport:
    """How a refund stands; `refund_id` is None where it was not made by us. `state` is the contract's Refund.State.

    Without a currency it is in the payment's. `returned_micros`: what of a FAILED one has come back; None: all of it.
    `pending_reason`: why one that has SUCCEEDED may not stay so. `is_current`: the provider was asked just now.
    `is_final`: nothing outside can reverse it any more.
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
    """How a dispute stands: OPEN (the money is withheld), WON (it came back) or LOST.

    `fee_micros` is what the provider takes for it.
    """

    external_id: str
    payment_id: UUID
    amount_micros: int
    currency_code: str
    state: str
    reason: str = ""
    fee_micros: int = 0


@dataclass(frozen=True, slots=True)
class PaymentUpdate:
    """A report on one of our payments."""

    payment_id: UUID
    report: Report


@dataclass(frozen=True, slots=True)
class UnmatchedFunds:
    """Money that no payment of ours was found for."""

    arrival: IncomingFunds


@dataclass(frozen=True, slots=True)
class ReversalReport:
    """What arrived under a key was taken back; of a key that is not known it says nothing.

    `recall` is the line by which a part of it was, which may be all of it; None: whatever is left of it.
    """

    key: str
    recall: Recall | None = None


@dataclass(frozen=True, slots=True)
class PayoutReport:
    """How a payout's bank transfer stands; `returned_micros` is what of a FAILED one has come back, None all of it."""

    transfer_id: str
    state: PayoutState
    reason: str
    returned_micros: int | None = None


ProviderUpdate = PaymentUpdate | RefundReport | DisputeReport | UnmatchedFunds | ReversalReport | PayoutReport


@dataclass(frozen=True, slots=True)
class Event:
    """What a provider told at once, under the id by which it tells it again; no news: nothing that concerns us.

    One that was missed says when it was, and has the body that it would have come with, for `read`; `news` may be None
    there, and is read then once it is known that it was missed.
    """

    id: str
    kind: str
    news: Sequence[ProviderUpdate] | None = ()
    at: datetime | None = None
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A refund to be made; `sent_as` is what staff sent it with where the provider does not send it itself."""

    refund_id: UUID
    amount_micros: int
    sent_as: str


@dataclass(frozen=True, slots=True)
class SentRefund:
    """A refund that its provider has, under the provider's own id."""

    refund_id: UUID
    external_id: str
    amount_micros: int


@dataclass(frozen=True, slots=True)
class SeenRefund:
    """What staff sent back by hand, as the provider shows it; `block_number`: in which block of a chain."""

    external_id: str
    amount_micros: int
    block_number: int | None = None


class Bookings(Protocol):
    """Where a provider that watches by itself books what it sees; PaymentService."""

    def settle_in(self, tx: Transaction, payment_id: UUID, provider: str, report: Report) -> Payment | None:
        """Books what a provider reported; None where it knows no such payment. Repeats change nothing."""
        ...

    def reverse_in(self, tx: Transaction, provider: str, arrival_key: str, recall: Recall | None = None) -> None:
        """Takes back what arrived under the key, or what the recall says of it. Repeats change nothing."""
        ...

    def suspend_in(self, tx: Transaction, provider: str, arrival: IncomingFunds) -> None:
        """Keeps what arrived for nobody that is known, until staff assign it. Repeats change nothing."""
        ...


class Settings(Protocol):
    """What a provider is told from outside; its folder's `read` takes it out of the environment."""

    def provider(self, db: Database, clock: Clock) -> "Provider":
        """The provider, ready to be asked."""
        ...


class Provider(Protocol):
    """Takes customers' payments, and gives them back.

    Everything that asks the outside answers or raises UNAVAILABLE within 8 seconds. `is_watched`: what happens there is
    learnt without asking for each payment, which is then only done when it expires. A refund is asked about for
    `refunds_followed_for` at most, and `refunds_asked_after` for the first time.
    """

    is_watched: bool
    # Whether money may be sent there that no payment asked for; not where each payment is charged by itself.
    takes_transfers: bool
    refunds_followed_for: timedelta
    refunds_asked_after: timedelta

    def check(self, choice: Mapping[str, Any], currency_code: str) -> Mapping[str, Any]:
        """What the customer chose, complete and as it is to be kept: CryptoChoice's fields by their names.

        Asks nobody. The errors that CreatePayment has for it, CURRENCY_UNSUPPORTED where it cannot be paid in.
        """
        ...

    def outage(self, choice: Mapping[str, Any]) -> Outage | None:
        """What keeps payments with this choice from being settled, as far as that is known; asks only our database."""
        ...

    def recheck(self, choice: Mapping[str, Any]) -> Outage | None:
        """The same, once the provider was asked whether what is known still holds; raises nothing."""
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

    def check_refund(self, payment: Payment, amount_micros: int, sent_as: str) -> SeenRefund | None:
        """What staff have sent by hand as `sent_as`, before anything is booked; None: the provider sends by itself.

        REFUND_NOT_SEEN, PROVIDER_REJECTED, UNAVAILABLE.
        """
        ...

    def claim_refund(self, tx: Transaction, refund_id: UUID, seen: SeenRefund) -> None:
        """Makes what was seen this refund's, for ever; REFUND_NOT_SEEN where it is another's."""
        ...

    def look_up_refund(self, payment: Payment, sent: SentRefund) -> RefundReport:
        """How a refund stands that the provider has; UNAVAILABLE."""
        ...

    def event(self, body: bytes, header: Header) -> Event:
        """What a webhook says; SIGNATURE_INVALID."""
        ...

    def read(self, body: bytes) -> Event:
        """What the body of a webhook says whose signature was right when it came; its id may be another."""
        ...

    def background(self, bookings: Bookings) -> Sequence[Runnable]:
        """What watches the provider beside the calls, and books what it sees."""
        ...

    def missed(self, since: datetime) -> Iterable[Event]:
        """What happened since then, for those who may have missed a webhook, oldest first; the same ids as theirs."""
        ...
