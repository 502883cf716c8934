"""Access tokens and refresh tokens."""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime
from uuid import UUID

from adlib import identity
from auth_service.sessions.keys import KeyRing

ACCESS_TOKEN_S = 900


def access_token(keys: KeyRing, user_id: UUID, session_id: UUID, at: datetime) -> str:
    """A token for the session, good for `ACCESS_TOKEN_S` seconds."""
    issued = int(at.timestamp())
    claims = {
        "iss": identity.USER_ISSUER,
        "aud": identity.AUDIENCE,
        "sub": str(user_id),
        "sid": str(session_id),
        "iat": issued,
        "exp": issued + ACCESS_TOKEN_S,
    }
    return keys.sign(claims)


def new_refresh_token() -> str:
    """A text that nobody can guess."""
    return secrets.token_urlsafe(32)


def new_salt() -> bytes:
    """What one successor is derived with."""
    return secrets.token_bytes(32)


def successor(refresh_token: str, salt: bytes) -> str:
    """The refresh token that this one is traded for; computing it takes both the token and the salt."""
    derived = hmac.digest(refresh_token.encode(), b"refresh-token-successor" + salt, "sha256")
    return base64.urlsafe_b64encode(derived).rstrip(b"=").decode()


def hashed(refresh_token: str) -> bytes:
    """What is kept of a refresh token; it is random enough to need no slow hash."""
    return hashlib.sha256(refresh_token.encode()).digest()
