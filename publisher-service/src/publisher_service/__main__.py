"""Builds publisher-service and runs its commands."""

from adlib import service
from adlib.db import sources
from adlib.outbox import Outbox
from adlib.rpc import ServiceProcess
from adlib.service import Dependencies
from publisher_service import config
from publisher_service.balances.jobs import SyncBalances
from publisher_service.config import Config
from publisher_service.earnings.consumer import SpendHandler
from publisher_service.earnings.service import EarningService
from publisher_service.jobs import PublisherJobsServicer
from publisher_service.payouts.clients.payment import Ledger, RemoteLedger
from publisher_service.payouts.consumer import SettlementHandler
from publisher_service.payouts.service import PayoutService
from publisher_service.payouts.servicer import PayoutServicer
from publisher_service.payouts.tasks import PayoutRetries
from publisher_service.publishers.service import PublisherService
from publisher_service.publishers.servicer import PublisherServicer, ZoneDirectoryServicer
from publisher_service.retention import RULES

MIGRATIONS = sources("publisher_service", "outbox", "audit", "inbox", "idempotency")
_GROUP = "publisher-service"


def from_config(config: Config) -> ServiceProcess:
    """Builds the service with the servers in the configuration."""
    own = Dependencies.from_config(config.common, database_url=config.database_url)
    ledger = RemoteLedger(own.remote("payment-service", config.payment_targets))
    return build(own, ledger, share_basis_points=config.default_share_basis_points)


def build(
    own: Dependencies,
    ledger: Ledger,
    *,
    share_basis_points: int,
    retry_every_s: float = 5.0,
    sync_max_wait_s: float = 5.0,
) -> ServiceProcess:
    """Builds the service with these dependencies, which are fakes in tests."""
    db, clock, new_id = own.db, own.clock, own.new_id
    outbox = Outbox("publisher", clock)
    publishers = PublisherService(db, outbox, ledger, clock, new_id, share_basis_points)
    payouts = PayoutService(db, ledger, clock, new_id)
    sync = SyncBalances(db, ledger, payouts, max_wait_s=sync_max_wait_s)
    return own.process(
        servicers=[
            PublisherServicer(publishers),
            PayoutServicer(payouts),
            ZoneDirectoryServicer(publishers),
            PublisherJobsServicer(sync, own.purge(RULES)),
        ],
        background=[
            own.relay(outbox),
            own.consumer("campaign", _GROUP, SpendHandler(EarningService(db, clock))),
            own.consumer("payment", _GROUP, SettlementHandler(payouts)),
            PayoutRetries(db, payouts, every_s=retry_every_s),
        ],
    )


if __name__ == "__main__":
    service.main(read=config.read, build=from_config, migrations=MIGRATIONS)
