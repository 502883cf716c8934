"""NotificationService over gRPC."""

from adplatform.auth.v1 import personal_pb2 as pb
from adplatform.events.v1.events_pb2 import UserNotified

from adlib.clock import timestamp
from adlib.ids import parse_id
from adlib.rpc import Call
from auth_service.notifications.model import Notification
from auth_service.notifications.service import NotificationService


class NotificationServicer:
    """NotificationService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["NotificationService"]

    def __init__(self, notifications: NotificationService) -> None:
        self._notifications = notifications

    def ListNotifications(self, _request: pb.ListNotificationsRequest, call: Call) -> pb.ListNotificationsResponse:
        newest = self._notifications.newest(call.caller.user_id)
        return pb.ListNotificationsResponse(notifications=[_notification(one) for one in newest])

    def ReadNotification(self, request: pb.ReadNotificationRequest, call: Call) -> pb.Notification:
        notification_id = parse_id(request.notification_id, "notificationId")
        return _notification(self._notifications.mark_read(call.caller.user_id, notification_id))


def _notification(notification: Notification) -> pb.Notification:
    return pb.Notification(
        id=str(notification.id),
        kind=UserNotified.Kind.Value(notification.kind),
        title=notification.title,
        body=notification.body,
        create_time=timestamp(notification.created_at),
        read=notification.is_read,
        organization_id=str(notification.organization_id or ""),
    )
