"""What a session is made of."""

from dataclasses import dataclass
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import Unauthenticated


class RefreshTokenInvalid(Unauthenticated):
    """Unknown, expired, revoked or already used."""

    reason = ErrorReason.REFRESH_TOKEN_INVALID

    def __init__(self) -> None:
        super().__init__("the refresh token is not valid any more; sign in again")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a client signs its calls with; `expires_in_s` is the access token's."""

    access_token: str
    refresh_token: str
    expires_in_s: int


@dataclass(frozen=True, slots=True)
class Session:
    """A person's time between signing in and out."""

    id: UUID
    user_id: UUID
