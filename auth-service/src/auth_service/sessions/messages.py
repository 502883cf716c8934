"""Notifications about sessions."""

from adplatform.events.v1.events_pb2 import UserNotified

from auth_service.sessions.model import Session


def refresh_token_reused(session: Session) -> UserNotified:
    """A replaced refresh token was used again, which ended the session."""
    started_from = f" It was started from {session.client.address}." if session.client.address else ""
    return UserNotified(
        user_id=str(session.user_id),
        kind=UserNotified.SESSION_STOLEN,
        title="A session of yours was ended",
        body="A refresh token of it was used again after it had been replaced, so somebody else may have it."
        f"{started_from} Sign in again; if you do not know why this happened, change your password.",
    )
