"""Notifications: what a person should know."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import NotFound

# As many as a list shows.
NEWEST = 50
LIFETIME = timedelta(days=90)
# What changes how a person signs in is mailed with the change itself, whatever their preferences say.
MAILED_ALREADY = frozenset({"PASSWORD_CHANGED", "EMAIL_CHANGED"})
# Mailed whatever the preferences say, too: a stolen session could change those first.
ALWAYS_MAILED = frozenset({"SESSION_STOLEN", "API_KEY_CREATED"})


@dataclass(frozen=True, slots=True)
class Notification:
    """Something a person should know; `kind` is a name of `UserNotified.Kind`, `id` the event's."""

    id: UUID
    kind: str
    title: str
    body: str
    created_at: datetime
    organization_id: UUID | None
    read: bool = False


class NotificationNotFound(NotFound):
    """No notification of the person's own has this id."""

    reason = ErrorReason.NOTIFICATION_NOT_FOUND

    def __init__(self, notification_id: UUID) -> None:
        super().__init__(f"you have no notification {notification_id}")
