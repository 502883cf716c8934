"""Users and their e-mail addresses."""

import unicodedata
from dataclasses import dataclass
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import AlreadyExists, NotFound


class EmailTaken(AlreadyExists):
    """Another user has this e-mail address."""

    reason = ErrorReason.EMAIL_TAKEN

    def __init__(self) -> None:
        super().__init__("this e-mail is already registered; sign in, reset your password, or use another e-mail")


class UserNotFound(NotFound):
    """No user has this id."""

    reason = ErrorReason.USER_NOT_FOUND

    def __init__(self, user_id: UUID) -> None:
        super().__init__("there is no such user", userId=user_id)


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account. `email` is normalized."""

    id: UUID
    email: str
    name: str
    email_verified: bool = False


def normalized_email(email: str) -> str:
    """The form in which an e-mail address is stored and unique: NFKC, trimmed, lower case."""
    return unicodedata.normalize("NFKC", email).strip().lower()
