"""The features of payment-service, built from its dependencies."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from adlib.clock import Clock
from adlib.db import Database
from adlib.ids import NewId
from adlib.money import CURRENCIES
from adlib.outbox import Outbox
from adlib.service import Dependencies
from payment_service.balances.service import BalanceService
from payment_service.bookings.service import PaymentBooking
from payment_service.checkout.jobs import PaymentPoll
from payment_service.checkout.service import CheckoutService, PaymentService
from payment_service.checkout.tasks import OPEN_PAYMENT, PaymentOpener
from payment_service.clients.organizations import OrganizationNames, Organizations
from payment_service.config import Config
from payment_service.debts.service import DebtService
from payment_service.deposits.service import DepositService
from payment_service.disputes.service import DisputeService
from payment_service.holds.service import HoldService
from payment_service.ledger.service import ReservationService
from payment_service.payments.service import PaymentRecords
from payment_service.payouts.service import PayoutService
from payment_service.providers.service import ProviderRegistry, Providers
from payment_service.providers.settings import payment_methods
from payment_service.quarantine.service import QuarantineService
from payment_service.receipts.service import ReceiptService
from payment_service.reconciliation.jobs import ReconciliationJob, item_sources
from payment_service.refund_requests.service import RefundRequestService
from payment_service.refunds.jobs import RefundPoll
from payment_service.refunds.service import SEND_REFUND, RefundBooking, RefundService
from payment_service.refunds.tasks import RefundSender
from payment_service.suspense.service import SuspenseService
from payment_service.task_queue.store import TaskQueue
from payment_service.webhooks.consumer import UpdateConsumer
from payment_service.webhooks.service import WebhookService


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
        booking = PaymentBooking(db, records, deposits, providers.accepting_transfers, clock)
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


@dataclass(frozen=True, slots=True)
class Features:
    """Every use case that payment-service serves or runs in the background."""

    outbox: Outbox
    payments: PaymentFeatures
    refunds: RefundFeatures
    holds: HoldService
    balances: BalanceService
    debts: DebtService
    payouts: PayoutService
    webhooks: WebhookService
    suspense: SuspenseService
    receipts: ReceiptService
    quarantine: QuarantineService
    reconciliation: ReconciliationJob

    @classmethod
    def build(
        cls, own: Dependencies, config: Config, registry: ProviderRegistry, organizations: Organizations
    ) -> "Features":
        """The features on these dependencies, providers and source of organizations' names."""
        db, clock, new_id = own.db, own.clock, own.new_id
        outbox, providers = Outbox("payment", clock), registry.for_customers
        payments = PaymentFeatures.build(db, outbox, providers, clock, new_id, config.wallet_currencies)
        refunds = RefundFeatures.build(db, payments.records, providers, clock, new_id)
        debts = DebtService(db, outbox, new_id)
        payouts = PayoutService(db, outbox, registry.payouts[config.providers.payouts], debts, clock, new_id)
        disputes = DisputeService(payments.records, clock, new_id)
        consumer = UpdateConsumer(payments.booking, refunds.booking, disputes, payouts)
        webhooks = WebhookService(db, registry.webhooks, registry.missed_events, consumer, clock)
        quarantine = QuarantineService(db, providers.names, clock, new_id)
        reservations = ReservationService(db, clock, new_id)
        work = item_sources(payments.poll, refunds.poll, refunds.sender, payouts, webhooks, reservations)
        return cls(
            outbox=outbox,
            payments=payments,
            refunds=refunds,
            holds=HoldService(db, new_id),
            balances=BalanceService(db),
            debts=debts,
            payouts=payouts,
            webhooks=webhooks,
            suspense=SuspenseService(db, payments.booking),
            receipts=ReceiptService(db, OrganizationNames(organizations), config.receipt_issuer, payment_methods()),
            quarantine=quarantine,
            reconciliation=ReconciliationJob(db, quarantine, work),
        )

    @property
    def tasks(self) -> Mapping[str, Callable[[UUID], None]]:
        """The handlers of queued tasks, by task name."""
        return {OPEN_PAYMENT: self.payments.opener.open, SEND_REFUND: self.refunds.sender.send}
