"""Payment references for bank transfers: short, hard to misread, and with a check character against typing errors."""

import re
import secrets
from collections.abc import Iterator

# No characters that look alike. Their number, 31, is prime, which the check character relies on.
ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
_PREFIX = "ADP"
# 31 ** 8 is 850,000 million.
_BODY_LENGTH = 8
_PATTERN = re.compile(rf"(?={_PREFIX}([{ALPHABET}]{{{_BODY_LENGTH + 1}}}))")
_SEPARATORS = re.compile(r"[^A-Za-z0-9]")


def new() -> str:
    """A random reference, without dashes."""
    return with_check("".join(secrets.choice(ALPHABET) for _ in range(_BODY_LENGTH)))


def with_check(body: str) -> str:
    """The reference of these eight characters: prefix, body, check character."""
    return f"{_PREFIX}{body}{_check_character(body)}"


def shown(reference: str) -> str:
    """The reference as customers read it: ADP-7KQ2-M9XR-4."""
    start = len(_PREFIX)
    return "-".join((reference[:start], reference[start : start + 4], reference[start + 4 : start + 8], reference[-1]))


def found(text: str) -> Iterator[str]:
    """Every valid reference in a sender's text, even if a bank changed the case, spaces or punctuation.

    One wrong character, or two that are swapped, make a reference invalid.
    """
    for match in _PATTERN.finditer(_SEPARATORS.sub("", text).upper()):
        if with_check(match[1][:-1]) == _PREFIX + match[1]:
            yield _PREFIX + match[1]


def _check_character(body: str) -> str:
    """Makes the sum of all characters, each weighted by its position from the end, divisible by 31.

    A wrong character changes the sum by its difference times its weight, two swapped ones by their difference times
    their distance; a prime that is larger than all of these factors divides neither.
    """
    weighted = sum(ALPHABET.index(character) * weight for weight, character in enumerate(reversed(body), 2))
    return ALPHABET[-weighted % len(ALPHABET)]
