"""API keys: their text, and what one made by another may.

A text is `adk_`, 43 base62 characters that spell 256 random bits, and six that spell their CRC-32: one that was cut
or mistyped is known as such without asking anybody, and scanners for leaked secrets know it for what it is.
"""

import hashlib
import secrets
import string
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import InvalidField, NotFound
from auth_service.roles.model import RightsExceeded

MAX_LIVE = 100

Network = IPv4Network | IPv6Network

_START = "adk_"
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_BITS = 256
_RANDOM_LENGTH = 43
_CHECK_LENGTH = 6
_PREFIX_LENGTH = len(_START) + 8


class ApiKeyNotFound(NotFound):
    """No such key in the organization, or it was revoked before."""

    reason = ErrorReason.API_KEY_NOT_FOUND

    def __init__(self, api_key_id: UUID) -> None:
        super().__init__("this organization has no such API key, or it was revoked before", apiKeyId=api_key_id)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its text; `permissions` are codes, and no networks mean that it can be used from everywhere."""

    id: UUID
    organization_id: UUID
    user_id: UUID
    name: str
    prefix: str
    permissions: frozenset[int]
    networks: tuple[Network, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = None


def make() -> str:
    """A new key's text."""
    body = _START + _base62(secrets.randbits(_RANDOM_BITS), _RANDOM_LENGTH)
    return body + _check(body)


def well_formed(text: str) -> bool:
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


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """The networks that these spell; INVALID_FIELD."""
    try:
        return tuple(dict.fromkeys(ip_network(text) for text in texts))
    except ValueError:
        raise InvalidField("allowedCidrs", "must be networks such as 192.0.2.0/24 or 2001:db8::/32") from None


def require_no_wider(
    *, expires_at: datetime | None, networks: Sequence[Network],
    makers_expires_at: datetime | None, makers_networks: Sequence[Network],
) -> None:  # fmt: skip
    """RIGHTS_EXCEEDED where a key would outlive the key that makes it, or work where that one does not."""
    if makers_expires_at and (expires_at is None or expires_at > makers_expires_at):
        until = makers_expires_at.isoformat()
        raise RightsExceeded("a key made by a key cannot outlive it; set expireTime no later", expireTime=until)
    if makers_networks and not (networks and all(_within(network, makers_networks) for network in networks)):
        raise RightsExceeded(
            "a key made by a key cannot be used from where that cannot; set allowedCidrs within its own",
            allowedCidrs=",".join(map(str, makers_networks)),
        )


def _within(network: Network, others: Sequence[Network]) -> bool:
    # Of the same version, or subnet_of refuses to compare.
    return any(type(network) is type(other) and network.subnet_of(other) for other in others)  # type: ignore[arg-type]  # mypy does not see that both are of one version


def _check(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
