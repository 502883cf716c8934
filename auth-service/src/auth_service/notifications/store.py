"""Notifications as documents, one collection per user; and users' verified e-mail addresses."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, select

from adlib.db import Query, Session
from adlib.documents import Document, Documents
from auth_service.notifications.model import LIFETIME, MAX_LISTED, Notification
from auth_service.tables import users

# Verified addresses only: notifications contain names that users choose, so one could send text to a stranger.
_VERIFIED_EMAIL = Query(
    select(users.c.email).where(users.c.id == bindparam("user_id"), users.c.email_verified_at.is_not(None))
)


def _collection(user_id: UUID) -> str:
    return f"users/{user_id}/notifications"


def add(documents: Documents, user_id: UUID, notification: Notification) -> None:
    """Stores a new notification; does nothing if it exists."""
    data = {
        "kind": notification.kind,
        "title": notification.title,
        "body": notification.body,
        "createdAt": notification.created_at.isoformat(),
        "organizationId": str(notification.organization_id or ""),
        "read": notification.is_read,
    }
    version = int(notification.created_at.timestamp() * 1e6)
    expires_at = notification.created_at + LIFETIME
    documents.put(_collection(user_id), str(notification.id), data, version, expires_at=expires_at)


def newest(documents: Documents, user_id: UUID) -> Sequence[Notification]:
    """The user's newest notifications."""
    return [_notification(id, data) for id, data in documents.list(_collection(user_id), MAX_LISTED)]


def mark_read(documents: Documents, user_id: UUID, notification_id: UUID) -> Notification | None:
    """Marks the user's notification as read and returns it."""
    data = documents.update(_collection(user_id), str(notification_id), {"read": True})
    return _notification(str(notification_id), data) if data else None


def verified_email(db: Session, user_id: UUID) -> str | None:
    """The user's e-mail address if it is verified."""
    row = db.one(_VERIFIED_EMAIL, user_id=user_id)
    return row.email if row else None


def _notification(id: str, data: Document) -> Notification:
    return Notification(
        id=UUID(id),
        kind=data["kind"],
        title=data["title"],
        body=data["body"],
        created_at=datetime.fromisoformat(data["createdAt"]),
        organization_id=UUID(data["organizationId"]) if data["organizationId"] else None,
        is_read=data["read"],
    )
