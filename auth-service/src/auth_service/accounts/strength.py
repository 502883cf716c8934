"""How hard a password is to guess, as zxcvbn estimates it."""

import re

from zxcvbn import zxcvbn  # type: ignore[import-untyped]  # it ships no types

from auth_service.accounts.model import PasswordWeak

# Of 4: withstands 10^6 to 10^8 guesses, which the limit of attempts keeps out of reach.
_ENOUGH = 2
# Its time grows faster than the password; 72 characters take some 20 ms.
_LOOKED_AT = 72
# It tries every way to read such characters as letters: 700 for a password that spells each letter in every way, which
# would keep everybody else waiting for 5 s. Where more than a few are there, each letter is taken to be spelled in one.
_SPELLINGS = "@{[<6!|5+"
_ONE_SPELLING = str.maketrans(_SPELLINGS, "4(((911$7")
_FEW = 3


def require_strong(password: str, field: str, *about: str) -> None:
    """PASSWORD_WEAK, with advice, where the password is easy to guess for one who knows these texts about its owner."""
    words = [word for text in about for word in (text, *re.split(r"\W+", text)) if len(word) > 2]
    looked_at = password[:_LOOKED_AT]
    if len(set(_SPELLINGS).intersection(looked_at)) > _FEW:
        looked_at = looked_at.translate(_ONE_SPELLING)
    found = zxcvbn(looked_at, user_inputs=words)
    if found["score"] < _ENOUGH:
        feedback = found["feedback"]
        said = " ".join([feedback["warning"], *feedback["suggestions"]]).strip()
        raise PasswordWeak(field, said or "Use a few words that do not belong together.")
