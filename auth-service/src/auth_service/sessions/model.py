"""What a session is made of."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import NotFound, Unauthenticated

# Of a refresh token; a session whose tokens are not refreshed for that long is over.
REFRESH_LIFETIME = timedelta(days=30)
# Two tabs that refresh at once, or one that lost the answer, come back within this time.
REPEAT_WINDOW = timedelta(seconds=30)


class RefreshTokenInvalid(Unauthenticated):
    """Unknown, expired, revoked, or used again too late."""

    reason = ErrorReason.REFRESH_TOKEN_INVALID

    def __init__(self) -> None:
        super().__init__("the refresh token is not valid any more; sign in again")


class SessionNotFound(NotFound):
    """No such session of the person's own, or it has ended."""

    reason = ErrorReason.SESSION_NOT_FOUND

    def __init__(self, session_id: UUID) -> None:
        super().__init__("you have no such session, or it has ended", sessionId=session_id)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a client signs its calls with; `expires_in_s` is the access token's."""

    access_token: str
    refresh_token: str
    expires_in_s: int
    user_id: UUID


@dataclass(frozen=True, slots=True)
class Client:
    """Where a call comes from, as far as that is known, and what the browser or program calls itself."""

    address: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """A person's time between signing in and out."""

    id: UUID
    user_id: UUID
    client: Client = Client()


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session as its person sees it in the list; `refreshed_at` is when it last got tokens."""

    id: UUID
    client: Client
    created_at: datetime
    refreshed_at: datetime


@dataclass(frozen=True, slots=True)
class KnownToken:
    """A refresh token that was handed out, and the session it is of.

    `successor_salt` is what its successor was derived with; None unless it is the token that the session rotated last,
    whose successor is unused.
    """

    session: Session
    ended: bool
    created_at: datetime
    used_at: datetime | None
    successor_salt: bytes | None

    def has_expired(self, at: datetime) -> bool:
        """Whether it is too old."""
        return at - self.created_at >= REFRESH_LIFETIME

    def repeat_salt(self, at: datetime) -> bytes | None:
        """The salt of the successor that it answers with once more; None unless it was used first so lately."""
        if self.used_at is None or at - self.used_at >= REPEAT_WINDOW:
            return None
        return self.successor_salt
