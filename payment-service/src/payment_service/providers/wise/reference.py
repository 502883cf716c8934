"""What a customer writes into a bank transfer: short, hard to misread, and never another's by a typing mistake."""

import re
import secrets
from collections.abc import Iterator

# Without those that look alike; as many as a prime, so that the weights below catch what they are there for.
ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
_PREFIX = "ADP"
# 31 ** 8 are 850,000 million.
_LENGTH = 8
_FORM = re.compile(rf"(?={_PREFIX}([{ALPHABET}]{{{_LENGTH + 1}}}))")
_NOISE = re.compile(r"[^A-Za-z0-9]")


def new() -> str:
    """A random one, without dashes."""
    return checked("".join(secrets.choice(ALPHABET) for _ in range(_LENGTH)))


def checked(body: str) -> str:
    """The reference with these eight characters: the prefix goes before them, and the check character after."""
    return f"{_PREFIX}{body}{_check(body)}"


def shown(reference: str) -> str:
    """As customers read it: ADP-7KQ2-M9XR-4."""
    start = len(_PREFIX)
    return "-".join((reference[:start], reference[start : start + 4], reference[start + 4 : start + 8], reference[-1]))


def found(text: str) -> Iterator[str]:
    """Every reference in what a sender wrote, whatever their bank made of case, blanks and punctuation.

    One with a wrong character, or with two that have changed places, is none.
    """
    for match in _FORM.finditer(_NOISE.sub("", text).upper()):
        if checked(match[1][:-1]) == _PREFIX + match[1]:
            yield _PREFIX + match[1]


def _check(body: str) -> str:
    """Makes the sum of all characters, each times its place counted from the end, divisible by 31.

    A wrong character changes the sum by its difference times its place, two that change places by their difference
    times the distance: neither is divisible by a prime that is greater than all of them.
    """
    weighted = sum(ALPHABET.index(sign) * place for place, sign in enumerate(reversed(body), 2))
    return ALPHABET[-weighted % len(ALPHABET)]
