"""Results and errors of verifying an e-mail address."""

from dataclasses import dataclass

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition
from auth_service.users.model import User


class SessionRequired(FailedPrecondition):
    """The new address's owner may not be the user who requested the change, so a session has to prove it."""

    reason = ErrorReason.SESSION_REQUIRED

    def __init__(self) -> None:
        super().__init__("sign in to the account with its old e-mail, and open the link again in the same browser")


@dataclass(frozen=True, slots=True)
class VerifiedEmail:
    """A user whose address was verified; `password_reset_token` is set if the account lost its password."""

    user: User
    password_reset_token: str = ""
