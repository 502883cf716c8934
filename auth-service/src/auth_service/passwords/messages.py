"""Notifications about changed passwords."""

from collections.abc import Sequence
from uuid import UUID

from adplatform.events.v1.events_pb2 import UserNotified

from auth_service.mail.model import IF_NOT_YOU

_MAX_KEYS_NAMED = 20


def password_changed(user_id: UUID, revoked_keys: Sequence[str] = ()) -> UserNotified:
    """The password was changed, or it was reset, which revoked these API keys."""
    keys = f" {api_keys_revoked(revoked_keys)}" if revoked_keys else ""
    return UserNotified(
        user_id=str(user_id),
        kind=UserNotified.PASSWORD_CHANGED,
        title="Your password was changed",
        body=f"All other sessions have been signed out.{keys} {IF_NOT_YOU}",
    )


def api_keys_revoked(names: Sequence[str]) -> str:
    """The API keys that a password reset revoked, and advice to replace them."""
    more = f" and {len(names) - _MAX_KEYS_NAMED} more" if len(names) > _MAX_KEYS_NAMED else ""
    return (
        f"The API keys that you had made were revoked with your password: {', '.join(names[:_MAX_KEYS_NAMED])}{more}. "
        "Make new ones for the programs that you know."
    )
