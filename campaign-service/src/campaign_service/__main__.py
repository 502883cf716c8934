"""campaign-service: composes and serves."""

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adplatform.campaign.v1 import campaign_pb2 as pb

from adlib import service
from adlib.access import AccessSource
from adlib.audit import PostgresAuditTrail
from adlib.bus import Bus, Consumer, RedisBus
from adlib.clock import Clock, SystemClock
from adlib.db import Database
from adlib.documents import Documents, PostgresDocuments
from adlib.identity import Verifier
from adlib.ids import new_id
from adlib.outbox import Outbox, Relay
from adlib.purge import PurgeExpired
from adlib.rpc import Remote, ServiceProcess
from campaign_service import config
from campaign_service.campaigns.lifecycle import Lifecycle
from campaign_service.campaigns.moves import Moves
from campaign_service.campaigns.outside import Places
from campaign_service.campaigns.service import Announcer, CampaignService
from campaign_service.campaigns.servicer import CampaignDirectoryServicer, CampaignServicer
from campaign_service.clients.payment import Payments, RemotePayments
from campaign_service.clients.publisher import Publishers, RemotePublishers
from campaign_service.config import Config
from campaign_service.debts.consumer import GROUP as DEBTS_GROUP
from campaign_service.debts.consumer import TOPIC as DEBTS_TOPIC
from campaign_service.debts.consumer import DebtHandler
from campaign_service.debts.service import DebtService
from campaign_service.delivery.network import Network
from campaign_service.delivery.traffic_engine import TrafficEngine
from campaign_service.holds.sweep import HoldsSweep
from campaign_service.projection.projector import GROUP, TOPIC, CampaignProjector
from campaign_service.retention import RULES
from campaign_service.spend.service import SpendService
from campaign_service.stats.service import StatsService
from campaign_service.stats.servicer import CampaignJobsServicer
from campaign_service.stats.sync import StatsSync

MIGRATIONS = (
    ("adlib", "migrations/outbox"),
    ("adlib", "migrations/audit"),
    ("adlib", "migrations/idempotency"),
    ("adlib", "migrations/documents"),
    ("campaign_service", "migrations"),
)


@dataclass(frozen=True, slots=True)
class World:
    """What is outside of the service."""

    db: Database
    bus: Bus
    documents: Documents
    payments: Payments
    publishers: Publishers
    networks: Sequence[Network]
    clock: Clock
    verifier: Verifier
    access: AccessSource
    closing: Sequence[Callable[[], None]] = ()


def compose(config: Config) -> ServiceProcess:
    """Puts the service together with the outside that it is configured for."""
    db = Database(config.database_url)
    shared = service.connect_redis(config.common.redis_url)
    auth = Remote("auth-service", config.common.auth_targets, config.common.identity)
    verifier, access = service.remote_authorization(config.common, auth)
    payment = Remote("payment-service", config.payment_targets, config.common.identity)
    publisher = Remote("publisher-service", config.publisher_targets, config.common.identity)
    networks = []
    if config.traffic_engine_url:
        networks.append(TrafficEngine(config.traffic_engine_url, config.traffic_engine_token))
    world = World(
        db=db,
        bus=RedisBus(shared),
        documents=PostgresDocuments(db),
        payments=RemotePayments(payment),
        publishers=RemotePublishers(publisher),
        networks=networks,
        clock=SystemClock(),
        verifier=verifier,
        access=access,
        closing=[
            *(network.close for network in networks),
            publisher.close,
            payment.close,
            auth.close,
            access.close,
            shared.close,
        ],
    )
    return assemble(world)


def assemble(world: World) -> ServiceProcess:
    """Puts the service together with any outside."""
    db, clock = world.db, world.clock
    outbox = Outbox(TOPIC, clock)
    networks = {network.code: network for network in world.networks}
    announcer, places = Announcer(outbox, clock), Places(db, networks)
    campaigns = CampaignService(db, announcer, networks, clock, new_id)
    spend = SpendService(db, outbox, announcer, places, world.payments, world.publishers, clock, new_id)
    moves = Moves(db, announcer, world.payments, places, spend, clock)
    lifecycle = Lifecycle(db, announcer, world.payments, places, moves, spend, clock)
    sweep = HoldsSweep(db, world.payments, lifecycle, moves, clock)
    sync = StatsSync(db, lifecycle, networks, spend, clock)
    debts = DebtHandler(DebtService(db, lifecycle, world.payments))
    reader = f"{socket.gethostname()}-{os.getpid()}"
    projector = CampaignProjector(world.documents)
    services = pb.DESCRIPTOR.services_by_name
    return ServiceProcess(
        servicers={
            services["CampaignService"]: CampaignServicer(campaigns, moves, lifecycle, StatsService(db), clock),
            services["CampaignDirectoryService"]: CampaignDirectoryServicer(campaigns),
            services["CampaignJobsService"]: CampaignJobsServicer(sync, sweep, PurgeExpired(db, clock, RULES)),
        },
        verifier=world.verifier,
        access=world.access,
        audit=PostgresAuditTrail(db),
        background=[
            Relay(db, world.bus, outbox),
            Consumer(world.bus.subscribe(TOPIC, GROUP, reader), projector.handle, wait_ms=500),
            Consumer(world.bus.subscribe(DEBTS_TOPIC, DEBTS_GROUP, reader), debts, wait_ms=500),
        ],
        checks=[db.check],
        closing=[db.close, *world.closing],
    )


if __name__ == "__main__":
    service.main(read=config.read, build=compose, migrations=MIGRATIONS)
