"""How long publisher-service keeps its rows."""

from collections.abc import Sequence

from adlib import audit, idempotency, inbox, outbox
from adlib.retention import Rule, not_purged

RULES: Sequence[Rule] = (
    idempotency.RETENTION,
    inbox.RETENTION,
    outbox.RETENTION,
    audit.RETENTION,
    *not_purged("publishers and their places", "publishers", "sites", "zones"),
    *not_purged(
        "what publishers earned and asked for, as the ledger has it",
        "earnings",
        "payout_requests",
    ),
)
