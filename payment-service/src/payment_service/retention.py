"""How long payment-service retains its rows."""

from collections.abc import Sequence

from adlib import audit, idempotency, outbox
from adlib.retention import Retention, Rule, not_purged

RULES: Sequence[Rule] = (
    idempotency.RETENTION,
    outbox.RETENTION,
    audit.RETENTION,
    # Unbooked events are retained until they are booked or an operator discards them.
    Retention("webhook_events", "received_at", days=90, condition="booked_at IS NOT NULL"),
    *not_purged("the ledger is permanent", "accounts", "transfers", "spends"),
    *not_purged("a row is deleted when the transfer ends", "pendings"),
    *not_purged("a row is deleted when its debt is settled and announced", "debt_changes"),
    *not_purged("records of customers' money", "payments", "deposits", "deposit_recalls", "refunds"),
    *not_purged("records of refund requests and disputes", "refund_requests", "disputes"),
    *not_purged("records of publishers' money", "payouts"),
    *not_purged("receipts are numbered without gaps", "receipts", "receipt_counters"),
    *not_purged(
        "a late transfer may still refer to its payment, and a transfer serves one refund",
        "bank_references", "bank_refunds",
    ),
    *not_purged("one row per provider", "webhook_cursors"),
    *not_purged(
        "one row per failing item, deleted when it succeeds; a discarded one records a decision about money",
        "failing_items",
    ),
    *not_purged(
        "an address may receive money at any time, and each transfer is credited once",
        "crypto_addresses", "crypto_transfers",
    ),
    *not_purged("a transaction serves one refund", "crypto_refunds"),
    *not_purged("one row per chain", "crypto_chains"),
    *not_purged("the watcher deletes all but the last blocks", "crypto_blocks"),
    *not_purged(
        "the task queue deletes tasks that succeeded, and failed ones after 30 days",
        "procrastinate_jobs", "procrastinate_events", "procrastinate_periodic_defers", "procrastinate_workers",
    ),
)  # fmt: skip
