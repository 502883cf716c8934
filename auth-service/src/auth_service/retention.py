"""How long auth-service retains its rows."""

from collections.abc import Sequence

from adlib import audit, idempotency, inbox, outbox
from adlib.documents import postgres as documents
from adlib.retention import Retention, Rule, not_purged

RULES: Sequence[Rule] = (
    idempotency.RETENTION,
    inbox.RETENTION,
    documents.RETENTION,
    outbox.RETENTION,
    audit.RETENTION,
    Retention("sessions", "ended_at", days=30),
    # A refresh token is valid for 30 days, so a session not refreshed for longer has expired.
    Retention("sessions", "coalesce(refreshed_at, created_at)", days=31),
    *not_purged("deleted with their session", "refresh_tokens"),
    Retention("links", "expires_at", days=30),
    Retention("invitations", "expires_at", days=30, condition="accepted_at IS NULL"),
    # No mail server has accepted it for a week.
    Retention("outgoing_mails", "created_at", days=7),
    *not_purged("a row is deleted when the cache has received its invalidation", "pending_marks"),
    *not_purged(
        "users and organizations, until they are deleted",
        "users",
        "credentials",
        "organizations",
        "user_roles",
    ),
    *not_purged(
        "permissions, defined by users or by the release", "roles", "permissions", "role_permissions", "api_keys"
    ),
    *not_purged("the audit log: a missing record breaks its hash chain", "audit_logs", "audit_heads"),
)
