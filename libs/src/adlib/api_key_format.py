"""The format of API keys: `adk_`, 256 random bits as 43 base62 characters, and a CRC-32 as 6 base62 characters.

The checksum rejects truncated and mistyped keys without a lookup. The prefix lets secret scanners find leaked keys.
"""

import hashlib
import secrets
import string
import zlib

_TAG = "adk_"
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_BITS = 256
_RANDOM_LENGTH = 43
_CHECK_LENGTH = 6
_PREFIX_LENGTH = len(_TAG) + 8


def generate() -> str:
    """Generates the text of a new API key."""
    body = _TAG + _base62(secrets.randbits(_RANDOM_BITS), _RANDOM_LENGTH)
    return body + _check(body)


def is_well_formed(text: str) -> bool:
    """Whether the text has the format and the checksum of an API key."""
    body, checksum = text[:-_CHECK_LENGTH], text[-_CHECK_LENGTH:]
    has_format = len(body) == len(_TAG) + _RANDOM_LENGTH and body.startswith(_TAG) and body.isascii()
    return has_format and checksum == _check(body)


def hash_of(text: str) -> bytes:
    """The SHA-256 that is stored instead of the text; 256 random bits need no slow password hash."""
    return hashlib.sha256(text.encode()).digest()


def prefix_of(text: str) -> str:
    """The beginning of the text, shown to distinguish keys; it reveals 47 of the 256 bits."""
    return text[:_PREFIX_LENGTH]


def _check(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
