"""Builds pixel-service's gRPC server and runs its commands; tracking.py builds the process of the tracking URLs."""

from functools import partial

from adlib import service
from adlib.db import sources
from adlib.rpc import ServiceProcess
from adlib.service import Dependencies
from pixel_service import config, tracking
from pixel_service.clients.campaign import Campaigns, RemoteCampaigns
from pixel_service.config import Config
from pixel_service.enricher.consumer import Enricher
from pixel_service.enricher.model import EventParser
from pixel_service.jobs.servicer import PixelJobsServicer
from pixel_service.pixel_lookup.service import PixelLookup
from pixel_service.pixels.consumer import CampaignConsumer
from pixel_service.pixels.messages import PixelMessages
from pixel_service.pixels.service import PixelService
from pixel_service.pixels.servicer import PixelServicer
from pixel_service.pixels.store import find_any_tenant
from pixel_service.postback_keys import PostbackKeys
from pixel_service.retention import RULES
from pixel_service.tracking_process import TrackingProcess
from pixel_service.visitor_ids import VisitorIds

MIGRATIONS = sources("pixel_service", "outbox", "audit", "idempotency")
_ENRICHER_BATCH_SIZE = 500


def from_config(config: Config) -> ServiceProcess:
    """Builds the service with the servers in the configuration and the process of the tracking URLs."""
    own = Dependencies.from_config(config.common, database_url=config.database_url)
    campaigns = RemoteCampaigns(own.remote("campaign-service", config.campaign_targets))
    return build(own, campaigns, config, TrackingProcess(config.common.rpc.host, config.http_port))


def build(own: Dependencies, campaigns: Campaigns, config: Config, tracking: TrackingProcess | None) -> ServiceProcess:
    """Builds the service with these dependencies, which are fakes in tests."""
    db, clock = own.db, own.clock
    messages = PixelMessages(config.public_url, PostbackKeys(config.signing_key))
    parser = EventParser(PixelLookup(partial(find_any_tenant, db)).get, VisitorIds(config.signing_key))
    return own.process(
        servicers=[
            PixelServicer(PixelService(db, campaigns, clock, own.new_id), messages),
            PixelJobsServicer(own.purge(RULES)),
        ],
        background=[
            own.consumer(
                "collected", "enricher", Enricher(parser, own.bus, db, clock).handle, batch=_ENRICHER_BATCH_SIZE
            ),
            own.consumer("campaign", "pixel", CampaignConsumer(db).handle),
            *([tracking] if tracking else []),
        ],
        checks=[tracking.check] if tracking else [],
    )


if __name__ == "__main__":
    service.main(
        read=config.read, build=from_config, migrations=MIGRATIONS, commands={"tracking": tracking.serve_tracking}
    )
