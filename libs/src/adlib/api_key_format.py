"""The text of API keys.

`adk_`, 43 base62 characters that spell 256 random bits, and six that spell their CRC-32: one that was cut or mistyped
is known as such without asking anybody, and scanners for leaked secrets know it for what it is.
"""

import hashlib
import secrets
import string
import zlib

_START = "adk_"
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_BITS = 256
_RANDOM_LENGTH = 43
_CHECK_LENGTH = 6
_PREFIX_LENGTH = len(_START) + 8


def generate() -> str:
    """A new key's text."""
    body = _START + _base62(secrets.randbits(_RANDOM_BITS), _RANDOM_LENGTH)
    return body + _check(body)


def is_well_formed(text: str) -> bool:
    """Whether it can be a key's text at all."""
    body, check = text[:-_CHECK_LENGTH], text[-_CHECK_LENGTH:]
    fits = len(body) == len(_START) + _RANDOM_LENGTH and body.startswith(_START) and body.isascii()
    return fits and check == _check(body)


def hash_of(text: str) -> bytes:
    """What is stored of a text, which is random enough to need no slow hash."""
    return hashlib.sha256(text.encode()).digest()


def prefix_of(text: str) -> str:
    """What is shown of a text, to tell keys apart: 47 of its 256 bits."""
    return text[:_PREFIX_LENGTH]


def _check(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
