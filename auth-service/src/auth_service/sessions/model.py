"""Sessions and their tokens."""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import NotFound, Unauthenticated

ACCESS_TOKEN_LIFETIME_S = 900
# A session that was not refreshed for this long has expired.
REFRESH_TOKEN_LIFETIME = timedelta(days=30)
# Within this time, two tabs may refresh concurrently, or one may retry because the response was lost.
REPEAT_WINDOW = timedelta(seconds=30)


class RefreshTokenInvalid(Unauthenticated):
    """The refresh token is unknown, expired, revoked, or was reused too late."""

    reason = ErrorReason.REFRESH_TOKEN_INVALID

    def __init__(self) -> None:
        super().__init__("the refresh token is no longer valid; sign in again")


class SessionNotFound(NotFound):
    """The user has no such session, or it has ended."""

    reason = ErrorReason.SESSION_NOT_FOUND

    def __init__(self, session_id: UUID) -> None:
        super().__init__("you have no such session, or it has ended", sessionId=session_id)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A session's token pair; `expires_in_s` is the access token's."""

    access_token: str
    refresh_token: str
    expires_in_s: int
    user_id: UUID


@dataclass(frozen=True, slots=True)
class Client:
    """The network address and User-Agent of a caller, as far as they are known."""

    address: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in user at a client."""

    id: UUID
    user_id: UUID
    client: Client = Client()


@dataclass(frozen=True, slots=True)
class LiveSession:
    """An entry in the user's list of sessions; `refreshed_at` is when tokens were last issued for it."""

    id: UUID
    client: Client
    created_at: datetime
    refreshed_at: datetime


@dataclass(frozen=True, slots=True)
class StoredRefreshToken:
    """A refresh token that was issued, and its session.

    `successor_salt` is the salt from which its successor was derived; None unless the session rotated this token last
    and the successor is unused.
    """

    session: Session
    has_session_ended: bool
    created_at: datetime
    used_at: datetime | None
    successor_salt: bytes | None

    def has_expired(self, at: datetime) -> bool:
        """Whether its lifetime is over."""
        return at - self.created_at >= REFRESH_TOKEN_LIFETIME

    def repeat_salt(self, at: datetime) -> bytes | None:
        """The salt of the successor to return again; None unless it was first used within the repeat window."""
        if self.used_at is None or at - self.used_at >= REPEAT_WINDOW:
            return None
        return self.successor_salt


def successor(refresh_token: str, salt: bytes) -> str:
    """The refresh token that replaces this one; deriving it takes both the token and the salt."""
    derived = hmac.digest(refresh_token.encode(), b"refresh-token-successor" + salt, "sha256")
    return base64.urlsafe_b64encode(derived).rstrip(b"=").decode()


def token_hash(refresh_token: str) -> bytes:
    """The hash under which a refresh token is stored: plain SHA-256, since the token has 256 random bits."""
    return hashlib.sha256(refresh_token.encode()).digest()
