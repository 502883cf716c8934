"""Notifies users and lists their notifications."""

from collections.abc import Sequence
from uuid import UUID

from adlib import inbox
from adlib.db import Database
from adlib.documents import Documents
from auth_service.mail.model import MailKind
from auth_service.mail.service import OutgoingMail
from auth_service.notifications import store
from auth_service.notifications.model import ALWAYS_MAILED, MAILED_ALREADY, Notification, NotificationNotFound
from auth_service.preferences.service import PreferenceService

_INBOX_CONSUMER = "auth-service:notification-mail"


class NotificationService:
    """The use cases of notifications."""

    def __init__(self, db: Database, documents: Documents, preferences: PreferenceService, mail: OutgoingMail) -> None:
        self._db = db
        self._documents = documents
        self._preferences = preferences
        self._mail = mail

    def notify(self, user_id: UUID, notification: Notification) -> None:
        """Stores the notification and, if the user's preferences allow it, mails it. Idempotent."""
        store.add(self._documents, user_id, notification)
        if notification.kind in MAILED_ALREADY or not self._is_mailed(user_id, notification.kind):
            return
        with self._db.transaction() as tx:
            recipient = store.verified_email(tx, user_id)
            content = f"{notification.kind} {notification.title} {notification.body}"
            if recipient and inbox.claim_event(tx, _INBOX_CONSUMER, notification.id, content):
                title, body = notification.title, notification.body
                self._mail.add(tx, MailKind.NOTIFICATION, recipient, title=title, body=body)

    def _is_mailed(self, user_id: UUID, kind: str) -> bool:
        return kind in ALWAYS_MAILED or self._preferences.get(user_id).notifications

    def newest(self, user_id: UUID) -> Sequence[Notification]:
        """The user's newest notifications."""
        return store.newest(self._documents, user_id)

    def mark_read(self, user_id: UUID, notification_id: UUID) -> Notification:
        """Marks the notification as read; NOTIFICATION_NOT_FOUND."""
        notification = store.mark_read(self._documents, user_id, notification_id)
        if notification is None:
            raise NotificationNotFound(notification_id)
        return notification
