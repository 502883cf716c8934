"""Notifications from events (topic "auth")."""

from collections.abc import Sequence
from datetime import UTC
from uuid import UUID

from adplatform.events.v1.events_pb2 import Event, UserNotified

from auth_service.notifications.model import Notification
from auth_service.notifications.service import NotificationService


class NotificationHandler:
    """Hands UserNotified on; other events of the topic are not for us."""

    def __init__(self, notifications: NotificationService) -> None:
        self._notifications = notifications

    def __call__(self, payloads: Sequence[bytes]) -> None:
        """Takes a batch of messages."""
        for event in map(Event.FromString, payloads):
            if event.HasField("user_notified"):
                self._notifications.notify(UUID(event.user_notified.user_id), _notification(event))


def _notification(event: Event) -> Notification:
    news = event.user_notified
    organization_id = UUID(event.organization_id)
    return Notification(
        id=UUID(event.id),
        kind=UserNotified.Kind.Name(news.kind),
        title=news.title,
        body=news.body,
        created_at=event.time.ToDatetime(UTC),
        # None where the event is about no organization, which its UUID of zeros says.
        organization_id=organization_id if organization_id.int else None,
    )
