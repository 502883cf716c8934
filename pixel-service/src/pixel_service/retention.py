"""How long pixel-service retains rows."""

from collections.abc import Sequence

from adlib import audit, idempotency, outbox
from adlib.retention import Retention, Rule, not_purged

RULES: Sequence[Rule] = (
    idempotency.RETENTION,
    outbox.RETENTION,
    audit.RETENTION,
    Retention("rejections", "day", days=400),
    *not_purged("customer data that tracking events refer to", "pixels"),
    *not_purged("needed to detect duplicates, without a time limit", "conversions"),
)
