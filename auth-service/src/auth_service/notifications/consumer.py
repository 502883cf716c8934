"""Turns events of the topic `auth` into notifications."""

from collections.abc import Sequence
from datetime import UTC
from uuid import UUID

from adplatform.events.v1.events_pb2 import Event, UserNotified

from auth_service.notifications.model import Notification
from auth_service.notifications.service import NotificationService


class NotificationHandler:
    """Handles UserNotified and ignores the topic's other events."""

    def __init__(self, notifications: NotificationService) -> None:
        self._notifications = notifications

    def __call__(self, payloads: Sequence[bytes]) -> None:
        """Handles a batch of messages."""
        for event in map(Event.FromString, payloads):
            if event.HasField("user_notified"):
                self._notifications.notify(UUID(event.user_notified.user_id), _notification(event))


def _notification(event: Event) -> Notification:
    notified = event.user_notified
    organization_id = UUID(event.organization_id)
    return Notification(
        id=UUID(event.id),
        kind=UserNotified.Kind.Name(notified.kind),
        title=notified.title,
        body=notified.body,
        created_at=event.time.ToDatetime(UTC),
        # An event without an organization has the UUID of zeros.
        organization_id=organization_id if organization_id.int else None,
    )
