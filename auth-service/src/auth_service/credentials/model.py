"""Password rules and the errors of authentication."""

import re
from dataclasses import dataclass

from adplatform.errors.v1.errors_pb2 import ErrorReason
from zxcvbn import zxcvbn  # type: ignore[import-untyped]  # it ships no types

from adlib.errors import InvalidArgument, Unauthenticated, Violation
from auth_service.users.model import User

# On zxcvbn's scale of 0 to 4: 2 withstands 10^6 to 10^8 guesses, more than the rate limits allow.
_MIN_PASSWORD_SCORE = 2
# zxcvbn's run time grows faster than the password's length: 72 characters take some 20 ms.
_MAX_SCORED_LENGTH = 72
# zxcvbn tries every combination of letters that these characters may stand for: 700 for a password that substitutes
# every letter in every way, which would block the process for 5 s. Above 3 distinct ones, each stands for one letter.
_SUBSTITUTES = "@{[<6!|5+"
_ONE_LETTER_EACH = str.maketrans(_SUBSTITUTES, "4(((911$7")
_MAX_SUBSTITUTES = 3


class CredentialsInvalid(Unauthenticated):
    """The e-mail address is unknown, the password is wrong (the error does not say which), or a token is not valid."""

    reason = ErrorReason.CREDENTIALS_INVALID

    def __init__(self, message: str = "the e-mail or the password is wrong") -> None:
        super().__init__(message)


class PasswordWeak(InvalidArgument):
    """The password is too easy to guess."""

    reason = ErrorReason.PASSWORD_WEAK

    def __init__(self, field: str, advice: str) -> None:
        super().__init__(f"the password is too easy to guess. {advice}", violations=[Violation(field, advice)])


@dataclass(frozen=True, slots=True)
class VerifiedPassword:
    """A user whose password was verified against this hash."""

    user: User
    password_hash: str


def require_strong(password: str, field: str, *user_inputs: str) -> None:
    """Raises PASSWORD_WEAK, with advice, if the password is easy to guess, given these texts about its user."""
    words = [word for text in user_inputs for word in (text, *re.split(r"\W+", text)) if len(word) > 2]
    scored = password[:_MAX_SCORED_LENGTH]
    if len(set(_SUBSTITUTES).intersection(scored)) > _MAX_SUBSTITUTES:
        scored = scored.translate(_ONE_LETTER_EACH)
    result = zxcvbn(scored, user_inputs=words)
    if result["score"] < _MIN_PASSWORD_SCORE:
        feedback = result["feedback"]
        advice = " ".join([feedback["warning"], *feedback["suggestions"]]).strip()
        raise PasswordWeak(field, advice or "Use a few words that do not belong together.")
