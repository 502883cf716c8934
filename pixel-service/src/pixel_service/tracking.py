"""Builds and runs the process that serves the tracking URLs."""

from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial

from adlib.bus import RedisBus
from adlib.clock import SystemClock
from adlib.config import Environment
from adlib.db import Database
from adlib.ids import new_id
from adlib.outbox import Outbox, Relay
from adlib.service import connect_redis
from adlib.telemetry import configure_logging
from pixel_service import config
from pixel_service.click_ids import ClickIds
from pixel_service.clicks.service import ClickService
from pixel_service.clicks.servicer import ClickServicer
from pixel_service.collector.servicer import ImpressionServicer
from pixel_service.collector.store import GroupCommit, connect
from pixel_service.config import Config
from pixel_service.conversions.service import ConversionService
from pixel_service.conversions.servicer import ConversionServicer
from pixel_service.database_threads import DatabaseThreads
from pixel_service.pixel_lookup.service import PixelLookup
from pixel_service.pixels.store import find_any_tenant
from pixel_service.postback_keys import PostbackKeys
from pixel_service.tracking_app import Route, TrackingApp
from pixel_service.tracking_server import serve
from pixel_service.tracking_urls import CLICK_PATH, CONVERSION_PATH, POSTBACK_PATH
from pixel_service.visitor_ids import VisitorIds

_DATABASE_THREADS = 8


def serve_tracking(environment: Environment) -> None:
    """Serves the tracking URLs, and relays the outbox: conversions are written here, so they are published at once."""
    settings = config.read(environment)
    configure_logging("pixel-service")
    db = Database(settings.database_url)
    redis = connect_redis(settings.common.redis_url)
    outbox = Outbox("events", SystemClock())
    with ThreadPoolExecutor(_DATABASE_THREADS, thread_name_prefix="tracking") as executor:
        app = build(settings, db, outbox, executor)
        serve(app, settings.common.rpc.host, settings.http_port, [Relay(db, RedisBus(redis), outbox)])
    db.close()
    redis.close()


def build(config: Config, db: Database, outbox: Outbox, executor: Executor) -> TrackingApp:
    """The application and its routes."""
    log = GroupCommit(connect(config.common.redis_url), "collected")
    pixels = PixelLookup(partial(find_any_tenant, db))
    click_ids, postback_keys = ClickIds(config.signing_key), PostbackKeys(config.signing_key)
    threads = DatabaseThreads(executor)
    clicks = ClickServicer(ClickService(pixels, threads, log, click_ids, new_id))
    service = ConversionService(db, outbox, pixels.get, click_ids, postback_keys, SystemClock(), new_id)
    conversions = ConversionServicer(service, VisitorIds(config.signing_key), threads)
    return TrackingApp(
        ImpressionServicer(log, new_id).get,
        [
            Route(CLICK_PATH, ["GET"], clicks.get),
            Route(CONVERSION_PATH, ["POST"], conversions.page),
            Route(POSTBACK_PATH, ["GET", "POST"], conversions.postback),
        ],
        is_proxied=config.is_proxied,
    )
