"""pixel-service: composes and serves."""

import os
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import redis.asyncio
from adplatform.pixel.v1 import jobs_pb2
from adplatform.pixel.v1 import pixel_pb2 as pb
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from adlib import service
from adlib.access import AccessSource
from adlib.audit import PostgresAuditTrail
from adlib.bus import Bus, Consumer, RedisBus
from adlib.clock import Clock, SystemClock
from adlib.config import Environment
from adlib.db import Database
from adlib.identity import Verifier
from adlib.ids import NewId, new_id
from adlib.outbox import Outbox, Relay
from adlib.purge import PurgeExpired
from adlib.rpc import Remote, ServiceProcess
from adlib.telemetry import configure_logging
from pixel_service import config
from pixel_service.clients.campaign import Campaigns, RemoteCampaigns
from pixel_service.collector.app import Tracking
from pixel_service.collector.commit import GroupCommit
from pixel_service.collector.process import TrackingProcess
from pixel_service.collector.server import serve
from pixel_service.config import Config
from pixel_service.conversions.requests import ConversionRequests
from pixel_service.conversions.service import ConversionService
from pixel_service.enricher.model import Reading
from pixel_service.enricher.service import Enricher
from pixel_service.jobs.servicer import PixelJobsServicer
from pixel_service.pixels.changes import CampaignChanges
from pixel_service.pixels.known import KnownPixels
from pixel_service.pixels.service import PixelService
from pixel_service.pixels.servicer import PixelServicer
from pixel_service.pixels.snippets import Links
from pixel_service.pixels.store import find_for_tracking
from pixel_service.retention import RULES
from pixel_service.signing.click_ids import ClickIds
from pixel_service.signing.postback_keys import PostbackKeys
from pixel_service.signing.visitors import Visitors

MIGRATIONS = (
    ("adlib", "migrations/outbox"),
    ("adlib", "migrations/audit"),
    ("adlib", "migrations/idempotency"),
    ("pixel_service", "migrations"),
)

_ENRICH_AT_ONCE = 500
_DATABASE_THREADS = 8


@dataclass(frozen=True, slots=True)
class World:
    """What the service stands on; tests put their own in its place."""

    db: Database
    bus: Bus
    campaigns: Campaigns
    verifier: Verifier
    access: AccessSource
    clock: Clock
    ids: NewId = new_id
    closing: Sequence[Callable[[], None]] = ()


def assemble(world: World, settings: Config, tracking: TrackingProcess | None) -> ServiceProcess:
    """The gRPC server with what works beside it: the enricher, and the process that serves the tracking URLs."""
    keys = PostbackKeys(settings.signing_key)
    pixels = PixelService(world.db, world.campaigns, world.clock, world.ids)
    known = KnownPixels(partial(find_for_tracking, world.db))
    enricher = Enricher(Reading(known.get, Visitors(settings.signing_key)), world.bus, world.db, world.clock)
    reader = f"{socket.gethostname()}:{os.getpid()}"
    collected = world.bus.subscribe("collected", "enricher", reader)
    changes = world.bus.subscribe("campaign", "pixel", reader)
    consumers = [
        Consumer(collected, enricher.handle, batch=_ENRICH_AT_ONCE),
        Consumer(changes, CampaignChanges(world.db).handle),
    ]
    return ServiceProcess(
        servicers={
            pb.DESCRIPTOR.services_by_name["PixelService"]: PixelServicer(pixels, Links(settings.public_url, keys)),
            jobs_pb2.DESCRIPTOR.services_by_name["PixelJobsService"]: PixelJobsServicer(
                PurgeExpired(world.db, world.clock, RULES)
            ),
        },
        verifier=world.verifier,
        access=world.access,
        audit=PostgresAuditTrail(world.db),
        background=[*consumers, *([tracking] if tracking else [])],
        checks=[world.db.check, *([tracking.check] if tracking else [])],
        closing=world.closing,
    )


def compose(settings: Config) -> ServiceProcess:
    """Puts the service together."""
    db = Database(settings.database_url)
    shared = service.connect_redis(settings.common.redis_url)
    auth = Remote("auth-service", settings.common.auth_targets, settings.common.identity)
    verifier, access = service.remote_authorization(settings.common, auth)
    campaign = Remote("campaign-service", settings.campaign_targets, settings.common.identity)
    world = World(
        db=db,
        bus=RedisBus(shared),
        campaigns=RemoteCampaigns(campaign),
        verifier=verifier,
        access=access,
        clock=SystemClock(),
        closing=[auth.close, access.close, campaign.close, db.close, shared.close],
    )
    return assemble(world, settings, TrackingProcess(settings.common.rpc.host, settings.http_port))


def serve_tracking(environment: Environment) -> None:
    """Serves the tracking URLs; the relay runs here, where conversions are written, so they are passed on at once."""
    settings = config.read(environment)
    configure_logging("pixel-service")
    db = Database(settings.database_url)
    shared = service.connect_redis(settings.common.redis_url)
    clock, clicks = SystemClock(), ClickIds(settings.signing_key)
    outbox = Outbox("events", clock)
    known = KnownPixels(partial(find_for_tracking, db))
    conversions = ConversionService(db, outbox, known.get, clicks, clock, new_id)
    with ThreadPoolExecutor(_DATABASE_THREADS, thread_name_prefix="tracking") as threads:
        app = Tracking(
            GroupCommit(_collecting(settings.common.redis_url), "collected"),
            known,
            ConversionRequests(conversions, PostbackKeys(settings.signing_key)),
            clicks,
            Visitors(settings.signing_key),
            threads,
            new_id,
            trusted_proxy=settings.trusted_proxy,
        )
        serve(app, settings.common.rpc.host, settings.http_port, [Relay(db, RedisBus(shared), outbox)])
    db.close()
    shared.close()


def _collecting(url: str) -> redis.asyncio.Redis:
    """A client that reconnects once by itself: a message that is stored twice has the same id.

    A time-out is not waited for twice. It is longer than that of reads: what is refused and stored is counted wrongly.
    """
    client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
        url,
        socket_timeout=1.0,
        socket_connect_timeout=0.5,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )
    return client


if __name__ == "__main__":
    service.main(
        read=config.read,
        build=compose,
        migrations=MIGRATIONS,
        commands={"tracking": serve_tracking},
    )
