"""How long campaign-service keeps its rows."""

from collections.abc import Sequence

from adlib import audit, idempotency, outbox
from adlib.documents import postgres as documents
from adlib.retention import Rule, not_purged

RULES: Sequence[Rule] = (
    idempotency.RETENTION,
    documents.RETENTION,
    outbox.RETENTION,
    audit.RETENTION,
    *not_purged("customers' campaigns, where and how they run", "campaigns", "campaign_networks"),
    *not_purged(
        "what was delivered and what the ledger took for it",
        "network_stats",
        "spend_postings",
    ),
)
