"""Notifications to users."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import NotFound

# A list contains at most this many, the newest ones.
MAX_LISTED = 50
LIFETIME = timedelta(days=90)
# Mailed in the transaction of the change, regardless of preferences, since these events change how a user signs in.
MAILED_ALREADY = frozenset({"PASSWORD_CHANGED", "EMAIL_CHANGED"})
# Also mailed regardless of preferences, which a stolen session could change first.
ALWAYS_MAILED = frozenset({"SESSION_STOLEN", "API_KEY_CREATED"})


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification to a user; `kind` is a name of `UserNotified.Kind`, `id` is the event's."""

    id: UUID
    kind: str
    title: str
    body: str
    created_at: datetime
    organization_id: UUID | None
    is_read: bool = False


class NotificationNotFound(NotFound):
    """The user has no notification with this id."""

    reason = ErrorReason.NOTIFICATION_NOT_FOUND

    def __init__(self, notification_id: UUID) -> None:
        super().__init__(f"you have no notification {notification_id}")
