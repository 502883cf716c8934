"""How long auth-service keeps its rows."""

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
    # A refresh token works for thirty days: what was not refreshed for longer never will be.
    Retention("sessions", "coalesce(refreshed_at, created_at)", days=31),
    *not_purged("deleted with their session", "refresh_tokens"),
    Retention("links", "expires_at", days=30),
    Retention("invitations", "expires_at", days=30, condition="accepted_at IS NULL"),
    # No mail server has taken it for a week.
    Retention("outgoing_mails", "created_at", days=7),
    *not_purged("a row is deleted when caches were told of its change", "pending_marks"),
    *not_purged(
        "people and organizations, until they are deleted",
        "users",
        "credentials",
        "organizations",
        "user_roles",
    ),
    *not_purged(
        "what people may do, made by them or by the release", "roles", "permissions", "role_permissions", "api_keys"
    ),
    *not_purged("the audit log: its chain of hashes breaks where a record is missing", "audit_logs", "audit_heads"),
)
