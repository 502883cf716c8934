"""payment-service: composes and serves."""

from dataclasses import dataclass, field, replace
from functools import partial

import redis
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import quarantine_pb2, receipts_pb2, refund_requests_pb2, refunds_pb2, suspense_pb2

from adlib import service
from adlib.access import AccessSource
from adlib.audit import PostgresAuditTrail
from adlib.bus import RedisBus
from adlib.clock import Clock, SystemClock
from adlib.db import Database
from adlib.identity import Verifier
from adlib.ids import new_id
from adlib.outbox import Outbox, Relay
from adlib.purge import PurgeExpired
from adlib.rpc import Remote, ServiceProcess
from payment_service import config
from payment_service.balances.service import BalanceService
from payment_service.balances.servicer import BillingServicer
from payment_service.checkout.servicer import PaymentServicer
from payment_service.checkout.tasks import OPEN_PAYMENT
from payment_service.clients.organizations import OrganizationNames, Organizations, RemoteOrganizations
from payment_service.config import Config
from payment_service.debts.service import DebtService
from payment_service.debts.tasks import DebtSettler
from payment_service.disputes.service import DisputeService
from payment_service.features import PaymentFeatures, RefundFeatures
from payment_service.holds.service import HoldService
from payment_service.holds.servicer import LedgerServicer
from payment_service.ledger.service import ReservationService
from payment_service.payouts.service import PayoutService
from payment_service.payouts.tasks import PayoutSender
from payment_service.providers.service import ProviderRegistry
from payment_service.quarantine.service import QuarantineService
from payment_service.quarantine.servicer import QuarantineServicer
from payment_service.receipts.service import ReceiptService
from payment_service.receipts.servicer import ReceiptServicer
from payment_service.reconciliation import jobs
from payment_service.reconciliation.servicer import PaymentJobsServicer
from payment_service.refund_requests.servicer import RefundRequestServicer
from payment_service.refunds.service import SEND_REFUND
from payment_service.refunds.servicer import RefundServicer
from payment_service.retention import RULES
from payment_service.suspense.service import SuspenseService
from payment_service.suspense.servicer import SuspenseServicer
from payment_service.task_queue.tasks import TaskWorker
from payment_service.webhooks.consumer import UpdateConsumer
from payment_service.webhooks.service import WebhookService
from payment_service.webhooks.servicer import WebhookServicer

MIGRATIONS = (
    ("adlib", "migrations/outbox"),
    ("adlib", "migrations/audit"),
    ("adlib", "migrations/idempotency"),
    ("payment_service", "migrations"),
)


@dataclass(frozen=True, slots=True)
class World:
    """What is outside of this process."""

    db: Database
    redis: redis.Redis
    providers: ProviderRegistry
    verifier: Verifier
    access: AccessSource
    organizations: Organizations
    clock: Clock = field(default_factory=SystemClock)


def compose(config: Config) -> ServiceProcess:
    """Puts the service together with the world as it is."""
    shared = service.connect_redis(config.common.redis_url)
    auth = Remote("auth-service", config.common.auth_targets, config.common.identity)
    verifier, access = service.remote_authorization(config.common, auth)
    db, clock = Database(config.database_url), SystemClock()
    providers = config.providers.registry(db, clock)
    worker = assemble(config, World(db, shared, providers, verifier, access, RemoteOrganizations(auth), clock))
    return replace(worker, closing=[*worker.closing, providers.close, auth.close, access.close])


def assemble(config: Config, world: World) -> ServiceProcess:
    """Puts the service together with this world."""
    db, clock = world.db, world.clock
    outbox, providers = Outbox("payment", clock), world.providers.for_customers
    payments = PaymentFeatures.build(db, outbox, providers, clock, new_id, config.wallet_currencies)
    refunds = RefundFeatures.build(db, payments.records, providers, clock, new_id)
    debts = DebtService(db, outbox, new_id)
    payouts = PayoutService(db, outbox, world.providers.payouts[config.providers.payouts], debts, clock, new_id)
    balances = BalanceService(db)

    disputes = DisputeService(payments.records, clock, new_id)
    consumer = UpdateConsumer(payments.booking, refunds.booking, disputes, payouts)
    webhooks = WebhookService(db, world.providers.webhooks, world.providers.missed_events, consumer, clock)

    quarantine = QuarantineService(db, providers.names, clock, new_id)
    reconciliation = jobs.ReconciliationJob(
        db,
        quarantine,
        [
            partial(jobs.missed_events, webhooks),
            partial(jobs.open_payments, payments.poll),
            partial(jobs.sent_refunds, refunds.poll),
            partial(jobs.sent_payouts, payouts),
            partial(jobs.abandoned_refunds, refunds.poll, refunds.sender),
            partial(jobs.unbooked_events, webhooks),
            partial(jobs.expired_reservations, ReservationService(db, clock, new_id)),
            partial(jobs.unsent_payouts, payouts),
        ],
    )
    receipts = ReceiptService(db, OrganizationNames(world.organizations), config.receipt_issuer)
    tasks = {OPEN_PAYMENT: payments.opener.open, SEND_REFUND: refunds.sender.send}
    services = pb.DESCRIPTOR.services_by_name
    return ServiceProcess(
        servicers={
            services["PaymentService"]: PaymentServicer(payments.checkout, payments.payments),
            services["BillingService"]: BillingServicer(balances),
            services["WebhookService"]: WebhookServicer(webhooks),
            services["LedgerService"]: LedgerServicer(HoldService(db, new_id), balances, payouts),
            services["PaymentJobsService"]: PaymentJobsServicer(reconciliation, PurgeExpired(db, clock, RULES)),
            quarantine_pb2.DESCRIPTOR.services_by_name["QuarantineService"]: QuarantineServicer(quarantine),
            refunds_pb2.DESCRIPTOR.services_by_name["RefundService"]: RefundServicer(refunds.refunds, refunds.requests),
            refund_requests_pb2.DESCRIPTOR.services_by_name["RefundRequestService"]: RefundRequestServicer(
                refunds.requests
            ),
            receipts_pb2.DESCRIPTOR.services_by_name["ReceiptService"]: ReceiptServicer(receipts),
            suspense_pb2.DESCRIPTOR.services_by_name["SuspenseService"]: SuspenseServicer(
                SuspenseService(db, payments.booking)
            ),
        },
        verifier=world.verifier,
        access=world.access,
        audit=PostgresAuditTrail(db),
        background=[
            Relay(db, RedisBus(world.redis), outbox),
            PayoutSender(payouts),
            DebtSettler(debts),
            TaskWorker(config.database_url, tasks, clock),
            *world.providers.tasks(payments.booking),
        ],
        checks=[db.check],
        closing=[db.close, world.redis.close],
    )


if __name__ == "__main__":
    service.main(
        read=config.read,
        build=compose,
        migrations=MIGRATIONS,
    )
