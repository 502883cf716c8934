"""The retention of publisher-service's tables."""

from collections.abc import Sequence

from adlib import audit, idempotency, inbox, outbox
from adlib.retention import Rule, not_purged

RULES: Sequence[Rule] = (
    idempotency.RETENTION,
    inbox.RETENTION,
    outbox.RETENTION,
    audit.RETENTION,
    *not_purged("publishers, their sites and zones", "publishers", "sites", "zones"),
    *not_purged(
        "earnings and payouts, which the ledger also stores",
        "earnings",
        "payout_requests",
    ),
)
