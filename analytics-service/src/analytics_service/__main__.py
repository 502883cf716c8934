"""analytics-service: composes and serves."""

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adplatform.analytics.v1 import analytics_pb2 as pb

from adlib import service
from adlib.access import AccessSource
from adlib.bus import Bus, Consumer, RedisBus
from adlib.clock import Clock, SystemClock
from adlib.identity import Verifier
from adlib.rpc import Remote, ServiceProcess
from analytics_service import config
from analytics_service.clients.campaign import Campaigns, RemoteCampaigns
from analytics_service.config import Config
from analytics_service.reports.service import ReportService
from analytics_service.reports.servicer import AnalyticsServicer
from analytics_service.spend import consumer as spend
from analytics_service.tracking import consumer as tracking
from analytics_service.warehouse.duckdb.client import DuckDbFile
from analytics_service.warehouse.duckdb.store import DuckDbWarehouse
from analytics_service.warehouse.model import Warehouse


@dataclass(frozen=True, slots=True)
class World:
    """What is outside of the service."""

    warehouse: Warehouse
    bus: Bus
    campaigns: Campaigns
    clock: Clock
    verifier: Verifier
    access: AccessSource
    checks: Sequence[Callable[[], object]] = ()
    closing: Sequence[Callable[[], None]] = ()


def compose(config: Config) -> ServiceProcess:
    """Puts the service together with the outside that it is configured for."""
    shared = service.connect_redis(config.common.redis_url)
    auth = Remote("auth-service", config.common.auth_targets, config.common.identity)
    verifier, access = service.remote_authorization(config.common, auth)
    campaign = Remote("campaign-service", config.campaign_targets, config.common.identity)
    file = DuckDbFile(config.warehouse_path)
    return assemble(
        World(
            warehouse=DuckDbWarehouse(file),
            bus=RedisBus(shared),
            campaigns=RemoteCampaigns(campaign),
            clock=SystemClock(),
            verifier=verifier,
            access=access,
            checks=[file.check],
            closing=[file.close, campaign.close, auth.close, access.close, shared.close],
        )
    )


def assemble(world: World) -> ServiceProcess:
    """Puts the service together with any outside."""
    reader = f"{socket.gethostname()}-{os.getpid()}"
    tracked = world.bus.subscribe(tracking.TOPIC, tracking.GROUP, reader)
    spent = world.bus.subscribe(spend.TOPIC, spend.GROUP, reader)
    reports = ReportService(world.warehouse, world.campaigns)
    return ServiceProcess(
        servicers={pb.DESCRIPTOR.services_by_name["AnalyticsService"]: AnalyticsServicer(reports, world.clock)},
        verifier=world.verifier,
        access=world.access,
        background=[
            Consumer(
                tracked, tracking.TrackingConsumer(world.warehouse).handle, batch=tracking.BATCH_SIZE, wait_ms=500
            ),
            Consumer(spent, spend.SpendConsumer(world.warehouse).handle, batch=spend.BATCH_SIZE, wait_ms=500),
        ],
        checks=world.checks,
        closing=world.closing,
    )


if __name__ == "__main__":
    service.main(read=config.read, build=compose)
