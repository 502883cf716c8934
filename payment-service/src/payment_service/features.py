"""The features of payments, refunds and payouts, each built from its dependencies."""

from collections.abc import Collection
from dataclasses import dataclass

from adlib.clock import Clock
from adlib.db import Database
from adlib.ids import NewId
from adlib.money import CURRENCIES
from adlib.outbox import Outbox
from payment_service.bookings.service import PaymentBooking
from payment_service.checkout.jobs import PaymentPoll
from payment_service.checkout.service import CheckoutService, PaymentService
from payment_service.checkout.tasks import PaymentOpener
from payment_service.deposits.service import DepositService
from payment_service.payments.service import PaymentRecords
from payment_service.providers.service import Providers
from payment_service.refund_requests.service import RefundRequestService
from payment_service.refunds.jobs import RefundPoll
from payment_service.refunds.service import RefundBooking, RefundService
from payment_service.refunds.tasks import RefundSender
from payment_service.task_queue.store import TaskQueue


@dataclass(frozen=True, slots=True)
class PaymentFeatures:
    """Everything that creates payments and credits deposits."""

    records: PaymentRecords
    deposits: DepositService
    booking: PaymentBooking
    opener: PaymentOpener
    checkout: CheckoutService
    payments: PaymentService
    poll: PaymentPoll

    @classmethod
    def build(
        cls,
        db: Database,
        outbox: Outbox,
        providers: Providers,
        clock: Clock,
        new_id: NewId,
        wallet_currencies: Collection[str] = CURRENCIES,
    ) -> "PaymentFeatures":
        """The features on these dependencies."""
        records, deposits = PaymentRecords(outbox), DepositService(clock, new_id)
        booking = PaymentBooking(db, records, deposits, providers.taking_transfers, clock)
        opener = PaymentOpener(db, providers, records, booking, TaskQueue(), clock)
        return cls(
            records=records,
            deposits=deposits,
            booking=booking,
            opener=opener,
            checkout=CheckoutService(db, providers, records, opener, clock, new_id, wallet_currencies),
            payments=PaymentService(db, providers, records, deposits, booking, opener, clock),
            poll=PaymentPoll(db, providers, booking, opener, clock),
        )


@dataclass(frozen=True, slots=True)
class RefundFeatures:
    """Everything that requests, sends and follows refunds."""

    requests: RefundRequestService
    booking: RefundBooking
    sender: RefundSender
    refunds: RefundService
    poll: RefundPoll

    @classmethod
    def build(
        cls, db: Database, payments: PaymentRecords, providers: Providers, clock: Clock, new_id: NewId
    ) -> "RefundFeatures":
        """The features on these dependencies."""
        requests = RefundRequestService(db, clock, new_id)
        booking = RefundBooking(providers, payments, requests, TaskQueue(), clock, new_id)
        sender = RefundSender(db, providers, payments, booking, clock)
        return cls(
            requests=requests,
            booking=booking,
            sender=sender,
            refunds=RefundService(db, providers, payments, booking, sender.send_now, clock, new_id),
            poll=RefundPoll(db, providers, payments, booking, clock),
        )
