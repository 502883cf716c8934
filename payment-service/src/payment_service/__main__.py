"""payment-service: composes and serves."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import redis
from adplatform.payment.v1 import payment_pb2 as pb

from adlib import service
from adlib.access import AccessSource
from adlib.audit import PostgresAuditTrail
from adlib.bus import RedisBus
from adlib.clock import Clock, SystemClock
from adlib.db import Database
from adlib.identity import Verifier
from adlib.ids import new_id
from adlib.outbox import Outbox, Relay
from adlib.rpc import Worker
from payment_service import config
from payment_service.config import Config
from payment_service.jobs.service import SettlementService
from payment_service.jobs.servicer import PaymentJobsServicer
from payment_service.ledger.service import LedgerService
from payment_service.ledger.servicer import BillingServicer, LedgerServicer
from payment_service.payments.providers import stripe
from payment_service.payments.providers.protocol import Provider
from payment_service.payments.providers.stripe import Stripe
from payment_service.payments.service import PaymentService
from payment_service.payments.servicer import PaymentServicer
from payment_service.payouts.bank import Bank
from payment_service.payouts.sender import PayoutSender
from payment_service.payouts.service import PayoutService
from payment_service.payouts.wise import Wise
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
    providers: Mapping[str, Provider]
    bank: Bank
    verifier: Verifier
    access: AccessSource
    clock: Clock = field(default_factory=SystemClock)


def compose(config: Config) -> Worker:
    """Puts the service together with the world as it is."""
    shared = service.connect_redis(config.common.redis_url)
    verifier, access, auth = service.authorization(config.common, shared)
    bank = Wise(config.wise.url, config.wise.token, config.wise.profile_id)
    providers = {stripe.NAME: Stripe(config.stripe.api_key, config.stripe.api_base)}
    world = World(Database(config.database_url), shared, providers, bank, verifier, access)
    worker = assemble(config, world)
    return replace(worker, closing=[*worker.closing, bank.close, auth.close])


def assemble(config: Config, world: World) -> Worker:
    """Puts the service together with this world."""
    db, clock = world.db, world.clock
    outbox = Outbox("payment", clock)
    ledger = LedgerService(db, new_id)
    payments = PaymentService(db, outbox, world.providers, clock, new_id)
    payouts = PayoutService(db, outbox, world.bank, clock, new_id)
    webhooks = WebhookService(db, payments, payouts, config.stripe.webhook_secret, config.wise.webhook_key, clock)
    services = pb.DESCRIPTOR.services_by_name
    return Worker(
        servicers={
            services["PaymentService"]: PaymentServicer(payments),
            services["BillingService"]: BillingServicer(ledger),
            services["WebhookService"]: WebhookServicer(webhooks),
            services["LedgerService"]: LedgerServicer(ledger, payouts),
            services["PaymentJobsService"]: PaymentJobsServicer(SettlementService(db, payments, payouts)),
        },
        verifier=world.verifier,
        access=world.access,
        audit=PostgresAuditTrail(db),
        background=[Relay(db, RedisBus(world.redis), outbox), PayoutSender(payouts)],
        checks=[db.check],
        closing=[db.close, world.redis.close],
    )


if __name__ == "__main__":
    service.main(
        read=config.read,
        settings=lambda config: config.common.rpc,
        compose=compose,
        migrations=MIGRATIONS,
    )
