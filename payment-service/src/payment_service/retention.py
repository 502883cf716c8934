"""How long payment-service keeps its rows."""

from collections.abc import Sequence

from adlib import audit, idempotency, outbox
from adlib.retention import Retention, Rule, not_purged

RULES: Sequence[Rule] = (
    idempotency.RETENTION,
    outbox.RETENTION,
    audit.RETENTION,
    # What is not booked is kept until it is, or an operator has discarded it.
    Retention("webhook_events", "received_at", days=90, condition="booked_at IS NOT NULL"),
    *not_purged("the ledger, for ever", "accounts", "transfers", "spends"),
    *not_purged("a row is deleted when the transfer ends", "pendings"),
    *not_purged("a row is deleted when its debt is settled and announced", "debt_changes"),
    *not_purged("the records of customers' money", "payments", "deposits", "deposit_recalls", "refunds"),
    *not_purged("what customers and their banks ask back", "refund_requests", "disputes"),
    *not_purged("the records of publishers' money", "payouts"),
    *not_purged("receipts are numbered without gaps", "receipts", "receipt_counters"),
    *not_purged(
        "a late transfer still names its payment, and a refund is sent once",
        "bank_references", "bank_refunds",
    ),
    *not_purged("a row a provider", "webhook_cursors"),
    *not_purged(
        "a row a failing item, deleted when it succeeds; a discarded one is a decision about money",
        "failing_items",
    ),
    *not_purged(
        "money may be sent to an address at any time, and is credited once",
        "crypto_addresses", "crypto_transfers",
    ),
    *not_purged("a transaction serves one refund", "crypto_refunds"),
    *not_purged("a row a chain", "crypto_chains"),
    *not_purged("the watcher deletes all but the last blocks", "crypto_blocks"),
    *not_purged(
        "the work queue deletes what succeeded, and what failed after 30 days",
        "procrastinate_jobs", "procrastinate_events", "procrastinate_periodic_defers", "procrastinate_workers",
    ),
)  # fmt: skip
