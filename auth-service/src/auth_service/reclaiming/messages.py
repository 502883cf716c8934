"""Notifications about reclaimed accounts."""

from uuid import UUID

from adplatform.events.v1.events_pb2 import UserNotified


def password_removed(user_id: UUID) -> UserNotified:
    """The account was reclaimed, which removed its password."""
    return UserNotified(
        user_id=str(user_id),
        kind=UserNotified.PASSWORD_CHANGED,
        title="Your password was removed",
        body="Your e-mail was proven by somebody who was not signed in here. Because somebody else may have made the "
        "account, its password, sessions and API keys have ended, and so have its invitations and the memberships "
        "that it gave. Reset your password to set a new one.",
    )
