"""The capabilities that a provider may have. Each feature depends on the one that it uses.

Every method that calls the provider returns or raises UNAVAILABLE within 8 seconds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from adlib.clock import Clock
from adlib.config import Environment
from adlib.db import Database, Transaction
from adlib.rpc import Runnable
from payment_service.payments.model import IncomingFunds, Payment, Recall, Report
from payment_service.providers.model import (
    BankAccount,
    ManualRefund,
    Outage,
    ProviderEvent,
    RefundOrder,
    RefundReport,
    SentRefund,
    TransferStatus,
)

# Returns a webhook's header by its lower-case name; empty if it was not sent.
Header = Callable[[str], str]


class TakesPayments(Protocol):
    """Takes customers' payments.

    `is_polled`: the status of open payments must be polled; otherwise webhooks or tasks report it, and a payment is
    only looked up when it expires. `accepts_transfers`: customers can send money that no payment requested.
    """

    is_polled: bool
    accepts_transfers: bool

    def validate(self, choice: Mapping[str, Any], currency_code: str) -> Mapping[str, Any]:
        """Validates the customer's payment method, and returns it with defaults: CryptoChoice's fields by name.

        Does not call the provider. Raises the errors that CreatePayment documents; CURRENCY_UNSUPPORTED.
        """
        ...

    def outage(self, choice: Mapping[str, Any]) -> Outage | None:
        """The known outage that affects payments with this choice; reads only the database."""
        ...

    def probe(self, choice: Mapping[str, Any]) -> Outage | None:
        """The outage, if the provider still has it when called; raises nothing."""
        ...

    def open(self, payment: Payment) -> Report:
        """Opens the payment; repeats open no second one. PROVIDER_REJECTED."""
        ...

    def look_up(self, payment: Payment) -> Report:
        """The status of an opened payment; PROVIDER_REJECTED if the provider does not know it."""
        ...

    def close(self, payment: Payment) -> Report:
        """Prevents an opened payment from being paid, as far as the provider can, and returns its status."""
        ...


class VerifiesManualRefunds(Protocol):
    """Verifies refunds that staff send by hand."""

    def find(self, payment: Payment, amount_micros: int, sent_as: str) -> ManualRefund:
        """The unclaimed refund that staff sent as `sent_as`; REFUND_NOT_SEEN, PROVIDER_REJECTED, UNAVAILABLE."""
        ...

    def claim(self, tx: Transaction, refund_id: UUID, manual: ManualRefund) -> None:
        """Assigns the manual refund to `refund_id`, permanently; REFUND_NOT_SEEN if another refund has it."""
        ...


class SendsRefunds(Protocol):
    """Refunds payments, and reports the status of refunds.

    A refund's status is polled for at most `refund_poll_period`, first after `first_refund_poll_after`.
    """

    refund_poll_period: timedelta
    first_refund_poll_after: timedelta

    @property
    def manual(self) -> VerifiesManualRefunds | None:
        """Set if staff send the refunds by hand; None if the provider sends them."""
        ...

    def refund(self, payment: Payment, order: RefundOrder) -> RefundReport:
        """Refunds the payment, once per refund id; PROVIDER_REJECTED, REFUND_NOT_SEEN."""
        ...

    def look_up_refund(self, sent: SentRefund) -> RefundReport:
        """The refund's status; UNAVAILABLE."""
        ...


class SendsPayouts(Protocol):
    """Sends a payout by bank transfer, in four steps that are safe to repeat. All raise UNAVAILABLE.

    `name` is the provider's, for the accounts in the ledger.
    """

    name: str

    def create_recipient(self, account: BankAccount, currency_code: str) -> str:
        """Registers the bank account, and returns its id; `PayoutRejected` if there is no such account."""
        ...

    def create_quote(self, amount_micros: int, currency_code: str) -> str:
        """Requests a quote for exactly the amount, with the fee on top, and returns its id; `PayoutRejected`."""
        ...

    def create_transfer(
        self, payout_id: UUID, recipient_id: str, quote_id: str, amount_micros: int, currency_code: str
    ) -> str:
        """Creates the transfer, once per payout id, and returns its id; `PayoutRejected`, `QuoteExpired`."""
        ...

    def fund(self, transfer_id: str) -> None:
        """Pays for the transfer from the platform's balance, once; UNAVAILABLE while the balance is short."""
        ...

    def transfer_status(self, transfer_id: str, amount_micros: int) -> TransferStatus:
        """The status of the transfer, which sends that amount."""
        ...


class ReadsWebhooks(Protocol):
    """Verifies and parses webhooks."""

    def verify(self, body: bytes, header: Header) -> None:
        """Checks the signature; SIGNATURE_INVALID."""
        ...

    def parse(self, body: bytes) -> ProviderEvent:
        """Parses the body of a webhook whose signature was verified when it arrived; INVALID_FIELD, UNAVAILABLE."""
        ...


class ListsMissedEvents(Protocol):
    """Lists events whose webhooks may have been missed."""

    def missed_events(self, since: datetime) -> Iterable[ProviderEvent]:
        """Events since then, oldest first, with the ids that their webhooks had; UNAVAILABLE."""
        ...


class BooksFunds(Protocol):
    """Books the incoming funds that a provider's background task observes. Repeats change nothing."""

    def settle_in(self, tx: Transaction, payment_id: UUID, provider: str, report: Report) -> Payment | None:
        """Books a report on a payment; None if the provider has no such payment."""
        ...

    def reverse_in(self, tx: Transaction, provider: str, key: str, recall: Recall | None = None) -> None:
        """Reverses the funds with the key, or the part of them in `recall`."""
        ...

    def suspend_in(self, tx: Transaction, provider: str, funds: IncomingFunds) -> None:
        """Books funds that match no payment to the suspense account."""
        ...


class RunsTasks(Protocol):
    """Observes the provider in the background."""

    def tasks(self, booking: BooksFunds) -> Sequence[Runnable]:
        """The tasks to run in the background."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider and its capabilities; one that it lacks is None. `closing` is called when the process ends."""

    name: str
    payments: TakesPayments | None = None
    refunds: SendsRefunds | None = None
    payouts: SendsPayouts | None = None
    webhooks: ReadsWebhooks | None = None
    missed_events: ListsMissedEvents | None = None
    background: RunsTasks | None = None
    closing: Sequence[Callable[[], None]] = ()


class Settings(Protocol):
    """A provider's settings."""

    def provider(self, db: Database, clock: Clock, *, takes_payments: bool = True) -> Provider:
        """Builds the provider; without `takes_payments`, for payouts alone."""
        ...


@dataclass(frozen=True, slots=True)
class ProviderKind:
    """A provider's declaration, `KIND` in its settings.py: how to read its settings, and its default use.

    `name` is that of the contract's enum Provider; `payment_method` is printed on receipts. `is_default`: deposits can
    be paid with it unless configured otherwise. `sends_payouts`: it can be the payout provider.
    """

    name: str
    payment_method: str
    read: Callable[[Environment], Settings]
    is_default: bool = False
    sends_payouts: bool = False
