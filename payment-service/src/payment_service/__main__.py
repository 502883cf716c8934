"""Builds payment-service and starts it."""

from adlib import service
from adlib.db import sources
from adlib.rpc import ServiceProcess
from adlib.service import Dependencies
from payment_service import config
from payment_service.balances.servicer import BillingServicer
from payment_service.checkout.servicer import PaymentServicer
from payment_service.clients.organizations import Organizations, RemoteOrganizations
from payment_service.config import Config
from payment_service.debts.tasks import DebtSettler
from payment_service.features import Features
from payment_service.holds.servicer import LedgerServicer
from payment_service.payouts.tasks import PayoutSender
from payment_service.providers.service import ProviderRegistry
from payment_service.quarantine.servicer import QuarantineServicer
from payment_service.receipts.servicer import ReceiptServicer
from payment_service.reconciliation.servicer import PaymentJobsServicer
from payment_service.refund_requests.servicer import RefundRequestServicer
from payment_service.refunds.servicer import RefundServicer
from payment_service.retention import RULES
from payment_service.suspense.servicer import SuspenseServicer
from payment_service.task_queue.tasks import TaskWorker
from payment_service.webhooks.servicer import WebhookServicer

MIGRATIONS = sources("payment_service", "outbox", "audit", "idempotency")


def from_config(config: Config) -> ServiceProcess:
    """The service with the database, providers and services that the configuration names."""
    own = Dependencies.from_config(config.common, database_url=config.database_url)
    providers = own.close_at_end(config.providers.registry(own.db, own.clock))
    organizations = RemoteOrganizations(own.remote("auth-service", config.common.auth_targets))
    return build(own, config, providers, organizations)


def build(
    own: Dependencies, config: Config, providers: ProviderRegistry, organizations: Organizations
) -> ServiceProcess:
    """The service with the given dependencies, such as a test's."""
    features = Features.build(own, config, providers, organizations)
    payments, refunds = features.payments, features.refunds
    return own.process(
        servicers=[
            PaymentServicer(payments.checkout, payments.payments),
            BillingServicer(features.balances),
            LedgerServicer(features.holds, features.balances, features.payouts),
            RefundServicer(refunds.refunds, refunds.requests),
            RefundRequestServicer(refunds.requests),
            ReceiptServicer(features.receipts),
            SuspenseServicer(features.suspense),
            WebhookServicer(features.webhooks),
            QuarantineServicer(features.quarantine),
            PaymentJobsServicer(features.reconciliation, own.purge(RULES)),
        ],
        background=[
            own.relay(features.outbox),
            PayoutSender(features.payouts),
            DebtSettler(features.debts),
            TaskWorker(config.database_url, features.tasks, own.clock),
            *providers.tasks(payments.booking),
        ],
    )


if __name__ == "__main__":
    service.main(read=config.read, build=from_config, migrations=MIGRATIONS)
