"""Builds campaign-service and runs its commands."""

from collections.abc import Sequence

from adlib import service
from adlib.db import sources
from adlib.documents import Documents, PostgresDocuments
from adlib.outbox import Outbox
from adlib.rpc import ServiceProcess
from adlib.service import Dependencies
from campaign_service import config
from campaign_service.budgets.service import BudgetChanges, CampaignEditor
from campaign_service.campaigns.service import CampaignService, CampaignWriter
from campaign_service.campaigns.servicer import CampaignDirectoryServicer
from campaign_service.clients.payment import Payments, RemotePayments
from campaign_service.clients.publisher import Publishers, RemotePublishers
from campaign_service.config import Config
from campaign_service.debts.consumer import DebtHandler
from campaign_service.debts.service import DebtService
from campaign_service.holds.jobs import HoldRepair, SweepHolds
from campaign_service.jobs import CampaignJobsServicer
from campaign_service.lifecycle.service import CampaignLifecycle
from campaign_service.lifecycle.servicer import CampaignServicer
from campaign_service.networks.protocol import Network
from campaign_service.placements.service import Placements
from campaign_service.projection.consumer import CampaignProjector
from campaign_service.retention import RULES
from campaign_service.spend.service import SpendPoster, SpendRecorder
from campaign_service.starts.service import CampaignStarter, StartFunding
from campaign_service.stops.service import CampaignStopper, HoldReleases
from campaign_service.sync.jobs import SpendSync, SyncStats

MIGRATIONS = sources("campaign_service", "outbox", "audit", "idempotency", "documents")


def from_config(config: Config) -> ServiceProcess:
    """Builds the service with the servers and networks in the configuration."""
    own = Dependencies.from_config(config.common, database_url=config.database_url)
    payments = RemotePayments(own.remote("payment-service", config.payment_targets))
    publishers = RemotePublishers(own.remote("publisher-service", config.publisher_targets))
    networks = [own.close_at_end(settings.open()) for settings in config.networks.values()]
    return build(own, payments, publishers, networks, PostgresDocuments(own.db))


def build(
    own: Dependencies, payments: Payments, publishers: Publishers, networks: Sequence[Network], documents: Documents
) -> ServiceProcess:
    """Builds the service with these dependencies, which are fakes in tests."""
    db, clock, new_id, outbox = own.db, own.clock, own.new_id, Outbox("campaign", own.clock)
    by_code = {network.code: network for network in networks}
    writer, placements = CampaignWriter(db, outbox, clock), Placements(db, by_code)
    campaigns = CampaignService(db, writer, {one.code: one.currency_code for one in networks}, clock, new_id)
    recorder = SpendRecorder(db, writer, placements, clock, new_id)
    poster = SpendPoster(db, writer, outbox, payments, publishers, new_id)
    budgets = BudgetChanges(db, writer, payments, placements, recorder, clock)
    editor = CampaignEditor(db, writer, budgets, poster, clock)
    stopper = CampaignStopper(db, writer, placements, budgets)
    releases = HoldReleases(db, writer, placements, budgets, recorder, poster)
    funding = StartFunding(db, writer, payments, budgets, releases)
    starter = CampaignStarter(db, writer, funding, placements, stopper, clock)
    lifecycle = CampaignLifecycle(db, writer, starter, stopper, releases, clock)
    sync = SyncStats(db, lifecycle, stopper, by_code, SpendSync(recorder, poster), clock)
    sweep = SweepHolds(db, payments, HoldRepair(db, writer, budgets, stopper, releases), clock)
    return own.process(
        servicers=[
            CampaignServicer(campaigns, editor, starter, stopper, lifecycle, clock),
            CampaignDirectoryServicer(campaigns),
            CampaignJobsServicer(sync, sweep, own.purge(RULES)),
        ],
        background=[
            own.relay(outbox),
            own.consumer("campaign", "campaign-projection", CampaignProjector(documents)),
            own.consumer("payment", "campaign-debts", DebtHandler(DebtService(db, lifecycle, payments))),
        ],
    )


if __name__ == "__main__":
    service.main(read=config.read, build=from_config, migrations=MIGRATIONS)
