"""publisher-service: composes and serves."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adplatform.publisher.v1 import publisher_pb2 as pb

from adlib import service
from adlib.access import AccessSource
from adlib.audit import PostgresAuditTrail
from adlib.bus import Bus, Consumer, Handler, RedisBus
from adlib.clock import Clock, SystemClock
from adlib.db import Database
from adlib.identity import Verifier
from adlib.ids import new_id
from adlib.outbox import Outbox, Relay
from adlib.purge import PurgeExpired
from adlib.rpc import Remote, ServiceProcess
from publisher_service import config
from publisher_service.clients.payment import Ledger, RemoteLedger
from publisher_service.config import Config
from publisher_service.earnings.consumer import SpendHandler
from publisher_service.earnings.service import EarningService
from publisher_service.jobs.service import BalanceSync
from publisher_service.jobs.servicer import PublisherJobsServicer
from publisher_service.payouts.consumer import SettlementHandler
from publisher_service.payouts.retries import PayoutRetries
from publisher_service.payouts.service import PayoutService
from publisher_service.payouts.servicer import PayoutServicer
from publisher_service.publishers.service import PublisherService
from publisher_service.publishers.servicer import PublisherServicer, ZoneDirectoryServicer
from publisher_service.retention import RULES

MIGRATIONS = (
    ("adlib", "migrations/outbox"),
    ("adlib", "migrations/audit"),
    ("adlib", "migrations/inbox"),
    ("adlib", "migrations/idempotency"),
    ("publisher_service", "migrations"),
)
_GROUP = "publisher-service"


@dataclass(frozen=True, slots=True)
class World:
    """What the service works with; `reader` is this process's name in the bus's groups."""

    db: Database
    bus: Bus
    verifier: Verifier
    access: AccessSource
    ledger: Ledger
    clock: Clock
    share_basis_points: int
    reader: str
    bus_wait_ms: int = 1000
    retry_every_s: float = 5.0
    sync_patience_s: float = 5.0
    closing: Sequence[Callable[[], None]] = ()


def compose(config: Config) -> ServiceProcess:
    """Opens the outside world and puts the service together."""
    db = Database(config.database_url)
    shared = service.connect_redis(config.common.redis_url)
    verifier, access, auth = service.authorization(config.common)
    payment = Remote("payment-service", config.payment_targets, config.common.identity)
    return assemble(
        World(
            db=db,
            bus=RedisBus(shared),
            verifier=verifier,
            access=access,
            ledger=RemoteLedger(payment),
            clock=SystemClock(),
            share_basis_points=config.default_share_basis_points,
            reader=f"{socket.gethostname()}:{config.common.rpc.ports[0]}",
            closing=[payment.close, auth.close, access.close, db.close, shared.close],
        )
    )


def assemble(world: World) -> ServiceProcess:
    """Puts the service together in this world."""
    db, clock, ledger = world.db, world.clock, world.ledger
    outbox = Outbox("publisher", clock)
    publishers = PublisherService(db, outbox, ledger, clock, new_id, world.share_basis_points)
    payouts = PayoutService(db, ledger, clock, new_id)
    sync = BalanceSync(db, ledger, payouts, patience_s=world.sync_patience_s)

    def consumer(topic: str, handle: Handler) -> Consumer:
        return Consumer(world.bus.subscribe(topic, _GROUP, world.reader), handle, wait_ms=world.bus_wait_ms)

    services = pb.DESCRIPTOR.services_by_name
    return ServiceProcess(
        servicers={
            services["PublisherService"]: PublisherServicer(publishers),
            services["PayoutService"]: PayoutServicer(payouts),
            services["ZoneDirectoryService"]: ZoneDirectoryServicer(publishers),
            services["PublisherJobsService"]: PublisherJobsServicer(sync, PurgeExpired(db, clock, RULES)),
        },
        verifier=world.verifier,
        access=world.access,
        audit=PostgresAuditTrail(db),
        background=[
            Relay(db, world.bus, outbox),
            consumer("campaign", SpendHandler(EarningService(db, clock))),
            consumer("payment", SettlementHandler(payouts)),
            PayoutRetries(db, payouts, every_s=world.retry_every_s),
        ],
        checks=[db.check],
        closing=world.closing,
    )


if __name__ == "__main__":
    service.main(
        read=config.read,
        settings=lambda config: config.common.rpc,
        compose=compose,
        migrations=MIGRATIONS,
    )
