"""Notifications about changed e-mail addresses."""

from uuid import UUID

from adplatform.events.v1.events_pb2 import UserNotified


def email_changed(user_id: UUID, new_email: str) -> UserNotified:
    """The user's address was changed."""
    return UserNotified(
        user_id=str(user_id),
        kind=UserNotified.EMAIL_CHANGED,
        title="Your e-mail was changed",
        body=f"From now on you sign in as {new_email}. Your other sessions have ended.",
    )
