"""payment-service: composes and serves."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

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
from payment_service.clients.organizations import Organizations, RemoteOrganizations
from payment_service.config import Config
from payment_service.debts.service import DebtService
from payment_service.debts.tasks import DebtSettler
from payment_service.deposits.service import Deposits
from payment_service.disputes.service import DisputeService
from payment_service.jobs.service import ReconciliationJob
from payment_service.jobs.servicer import PaymentJobsServicer
from payment_service.ledger.service import LedgerService
from payment_service.ledger.servicer import BillingServicer, LedgerServicer
from payment_service.payments.service import OPEN_PAYMENT, PaymentService
from payment_service.payments.servicer import PaymentServicer
from payment_service.payouts.bank import Bank
from payment_service.payouts.sender import PayoutSender
from payment_service.payouts.service import PayoutService
from payment_service.payouts.wise import Wise
from payment_service.providers.bulkhead import Bulkhead
from payment_service.providers.protocol import Provider
from payment_service.quarantine.service import QuarantineService
from payment_service.quarantine.servicer import QuarantineServicer
from payment_service.receipts.names import Names
from payment_service.receipts.service import ReceiptService
from payment_service.receipts.servicer import ReceiptServicer
from payment_service.refund_requests.service import RefundRequestService
from payment_service.refund_requests.servicer import RefundRequestServicer
from payment_service.refunds.service import SEND_REFUND, RefundService
from payment_service.refunds.servicer import RefundServicer
from payment_service.retention import RULES
from payment_service.suspense.service import SuspenseService
from payment_service.suspense.servicer import SuspenseServicer
from payment_service.webhooks.service import WebhookService
from payment_service.webhooks.servicer import WebhookServicer
from payment_service.webhooks.sources import PayoutsOnly, Source
from payment_service.work.store import WorkQueue
from payment_service.work.worker import TaskWorker

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
    providers: Mapping[str, Provider]
    bank: Bank
    verifier: Verifier
    access: AccessSource
    organizations: Organizations
    clock: Clock = field(default_factory=SystemClock)


def compose(config: Config) -> ServiceProcess:
    """Puts the service together with the world as it is."""
    shared = service.connect_redis(config.common.redis_url)
    auth = Remote("auth-service", config.common.auth_targets, config.common.identity)
    verifier, access = service.remote_authorization(config.common, auth)
    bank = Wise(config.bank.url, config.bank.token, config.bank.profile_id)
    db, clock = Database(config.database_url), SystemClock()
    providers = {name: settings.provider(db, clock) for name, settings in config.providers.items()}
    worker = assemble(config, World(db, shared, providers, bank, verifier, access, RemoteOrganizations(auth), clock))
    return replace(worker, closing=[*worker.closing, bank.close, auth.close, access.close])


def assemble(config: Config, world: World) -> ServiceProcess:
    """Puts the service together with this world."""
    db, clock = world.db, world.clock
    outbox = Outbox("payment", clock)
    queue, bulkhead = WorkQueue(), Bulkhead(world.providers)
    ledger = LedgerService(db, new_id)
    deposits = Deposits(clock, new_id)
    payments = PaymentService(
        db, outbox, world.providers, deposits, bulkhead, queue, clock, new_id, config.wallet_currencies
    )
    debts = DebtService(db, outbox, new_id)
    payouts = PayoutService(db, outbox, world.bank, debts, clock, new_id)
    requests = RefundRequestService(db, clock, new_id)
    refunds = RefundService(db, world.providers, bulkhead, payments, queue, clock, new_id)
    disputes = DisputeService(payments, clock, new_id)
    sources: dict[str, Source] = dict(world.providers)
    if "WISE" not in sources:
        sources["WISE"] = PayoutsOnly(config.bank.provider(db, clock))
    webhooks = WebhookService(db, sources, payments, refunds, disputes, payouts, clock)
    quarantine = QuarantineService(db, world.providers, clock, new_id)
    settlement = ReconciliationJob(db, payments, refunds, payouts, webhooks, ledger, quarantine)
    receipts = ReceiptService(db, Names(world.organizations), config.receipt_issuer)
    tasks = {OPEN_PAYMENT: payments.open, SEND_REFUND: refunds.send}
    services = pb.DESCRIPTOR.services_by_name
    return ServiceProcess(
        servicers={
            services["PaymentService"]: PaymentServicer(payments),
            services["BillingService"]: BillingServicer(ledger),
            services["WebhookService"]: WebhookServicer(webhooks),
            services["LedgerService"]: LedgerServicer(ledger, payouts),
            services["PaymentJobsService"]: PaymentJobsServicer(settlement, PurgeExpired(db, clock, RULES)),
            quarantine_pb2.DESCRIPTOR.services_by_name["QuarantineService"]: QuarantineServicer(quarantine),
            refunds_pb2.DESCRIPTOR.services_by_name["RefundService"]: RefundServicer(refunds, requests),
            refund_requests_pb2.DESCRIPTOR.services_by_name["RefundRequestService"]: RefundRequestServicer(requests),
            receipts_pb2.DESCRIPTOR.services_by_name["ReceiptService"]: ReceiptServicer(receipts),
            suspense_pb2.DESCRIPTOR.services_by_name["SuspenseService"]: SuspenseServicer(
                SuspenseService(db, payments)
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
            *(watcher for provider in world.providers.values() for watcher in provider.background(payments)),
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
