"""What people are told of changes to their account."""

from collections.abc import Sequence
from uuid import UUID

from adplatform.events.v1.events_pb2 import UserNotified

_NOT_YOU = "If that was not you, set a new password at once by “forgot password”, and look at your sessions."
# Of the API keys in one message.
_MOST_NAMED = 20


def password_changed(user_id: UUID, revoked_keys: Sequence[str] = ()) -> UserNotified:
    """The password was changed, or reset, which revokes API keys; they are named."""
    keys = f" {keys_revoked(revoked_keys)}" if revoked_keys else ""
    return UserNotified(
        user_id=str(user_id),
        kind=UserNotified.PASSWORD_CHANGED,
        title="Your password was changed",
        body=f"Whoever was signed in elsewhere has been signed out.{keys} {_NOT_YOU}",
    )


def keys_revoked(names: Sequence[str]) -> str:
    """Which API keys a new password ended, and what to do about the programs that used them."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return (
        f"The API keys that you had made were revoked with your password: {', '.join(names[:_MOST_NAMED])}{more}. "
        "Make new ones for the programs that you know."
    )


def password_removed(user_id: UUID) -> UserNotified:
    """The e-mail was proven without a session of the account, so somebody else may have made the account."""
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
