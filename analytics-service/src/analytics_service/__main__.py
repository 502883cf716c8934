"""Builds analytics-service and runs its commands."""

from adlib import service
from adlib.rpc import ServiceProcess
from adlib.service import Dependencies
from analytics_service import config
from analytics_service.clients.campaign import Campaigns, RemoteCampaigns
from analytics_service.config import Config
from analytics_service.reports.service import ReportService
from analytics_service.reports.servicer import AnalyticsServicer
from analytics_service.spend.consumer import SpendConsumer
from analytics_service.tracking.consumer import TrackingConsumer
from analytics_service.warehouse.duckdb.client import DuckDbFile
from analytics_service.warehouse.duckdb.store import DuckDbWarehouse

# The maximum number of messages that one insert stores.
_EVENT_BATCH_SIZE = 5_000
_SPEND_BATCH_SIZE = 1_000


def from_config(config: Config) -> ServiceProcess:
    """Builds the service with the servers and the file in the configuration."""
    own = Dependencies.from_config(config.common)
    campaigns = RemoteCampaigns(own.remote("campaign-service", config.campaign_targets))
    file = DuckDbFile(config.warehouse_path)
    own.closing.insert(0, file.close)
    return build(own, campaigns, file)


def build(own: Dependencies, campaigns: Campaigns, file: DuckDbFile) -> ServiceProcess:
    """Builds the service with these dependencies, which are fakes in tests."""
    warehouse = DuckDbWarehouse(file)
    return own.process(
        servicers=[AnalyticsServicer(ReportService(warehouse, campaigns), own.clock)],
        background=[
            own.consumer("events", "analytics", TrackingConsumer(warehouse).handle, batch=_EVENT_BATCH_SIZE),
            own.consumer("campaign", "analytics-spend", SpendConsumer(warehouse).handle, batch=_SPEND_BATCH_SIZE),
        ],
        checks=[file.check],
    )


if __name__ == "__main__":
    service.main(read=config.read, build=from_config)
