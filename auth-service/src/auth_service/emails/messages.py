"""Notifications about requested changes of an e-mail address."""

from uuid import UUID

from adplatform.events.v1.events_pb2 import UserNotified

from auth_service.mail.model import IF_NOT_YOU


def email_change_requested(user_id: UUID, new_email: str) -> UserNotified:
    """A link was sent to the new address."""
    return UserNotified(
        user_id=str(user_id),
        kind=UserNotified.EMAIL_CHANGED,
        title="Your e-mail is about to be changed",
        body=f"It becomes {new_email} once the link that was sent there is opened. {IF_NOT_YOU}",
    )
