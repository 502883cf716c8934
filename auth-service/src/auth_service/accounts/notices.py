"""What people are told of changes to their account."""

from uuid import UUID

from adplatform.events.v1.events_pb2 import UserNotified

_NOT_YOU = "If that was not you, set a new password at once by “forgot password”, and look at your sessions."


def password_changed(user_id: UUID) -> UserNotified:
    """The password was changed or reset."""
    return UserNotified(
        user_id=str(user_id),
        kind=UserNotified.PASSWORD_CHANGED,
        title="Your password was changed",
        body=f"Whoever was signed in elsewhere has been signed out. {_NOT_YOU}",
    )


def password_removed(user_id: UUID) -> UserNotified:
    """The e-mail was proven without a session of the account, so whoever made the account may be somebody else."""
    return UserNotified(
        user_id=str(user_id),
        kind=UserNotified.PASSWORD_CHANGED,
        title="Your password was removed",
        body="Your e-mail was proven by somebody who was not signed in here. Because somebody else may have made the "
        "account, its password, sessions and API keys have ended, and so have its invitations and the memberships "
        "that it gave. To set a new password, use “forgot password”.",
    )


def email_change_asked(user_id: UUID, new_email: str) -> UserNotified:
    """A link was sent to a new e-mail."""
    return UserNotified(
        user_id=str(user_id),
        kind=UserNotified.EMAIL_CHANGED,
        title="Your e-mail is about to be changed",
        body=f"It becomes {new_email} once the link that was sent there is opened. {_NOT_YOU}",
    )


def email_changed(user_id: UUID, new_email: str) -> UserNotified:
    """The e-mail was changed."""
    return UserNotified(
        user_id=str(user_id),
        kind=UserNotified.EMAIL_CHANGED,
        title="Your e-mail was changed",
        body=f"From now on you sign in as {new_email}. Your other sessions have ended.",
    )
