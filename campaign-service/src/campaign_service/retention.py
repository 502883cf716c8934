"""The retention of campaign-service's tables."""

from collections.abc import Sequence

from adlib import audit, idempotency, outbox
from adlib.documents import postgres as documents
from adlib.retention import Rule, not_purged

RULES: Sequence[Rule] = (
    idempotency.RETENTION,
    documents.RETENTION,
    outbox.RETENTION,
    audit.RETENTION,
    *not_purged("campaigns and their placements", "campaigns", "campaign_networks"),
    *not_purged(
        "delivered figures and the spend that the ledger posted",
        "network_stats",
        "spend_postings",
    ),
)
