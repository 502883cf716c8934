"""How long pixel-service keeps its rows."""

from collections.abc import Sequence

from adlib import audit, idempotency, outbox
from adlib.retention import Retention, Rule, not_purged

RULES: Sequence[Rule] = (
    idempotency.RETENTION,
    outbox.RETENTION,
    audit.RETENTION,
    Retention("rejections", "day", days=400),
    *not_purged("customers' pixels; tracking events name them", "pixels"),
    *not_purged("a conversion counts once, for ever", "conversions"),
)
