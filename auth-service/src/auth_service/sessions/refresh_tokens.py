"""Refresh tokens in Redis. Each works once; Redis keeps only a hash, and that a token was used."""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from uuid import UUID

import redis

from adlib.errors import Unavailable

_LIFETIME_S = 30 * 24 * 3600
_LIVE = b"live"
_USED = b"used"


class Use(Enum):
    """What presenting a refresh token shows."""

    FIRST = "first"
    REPEATED = "repeated"
    UNKNOWN = "unknown"


class RefreshTokens:
    """Issues and redeems refresh tokens; UNAVAILABLE while Redis does not answer."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def issue(self, session_id: UUID) -> str:
        """A new token for the session, good for 30 days."""
        token = f"{session_id.hex}.{secrets.token_urlsafe(32)}"
        with _translated():
            self._client.set(_key(token), _LIVE, ex=_LIFETIME_S)
        return token

    def redeem(self, token: str) -> Use:
        """Uses the token up, and says whether that was its first use."""
        with _translated():
            before = self._client.set(_key(token), _USED, xx=True, keepttl=True, get=True)
        if before is None:
            return Use.UNKNOWN
        return Use.FIRST if before == _LIVE else Use.REPEATED

    @staticmethod
    def session_of(token: str) -> UUID | None:
        """The session that the token claims; only redeeming shows whether it is true."""
        try:
            return UUID(hex=token.partition(".")[0])
        except ValueError:
            return None


def _key(token: str) -> str:
    return f"refresh:{hashlib.sha256(token.encode()).hexdigest()}"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise Unavailable("sessions cannot be reached; try again") from error
