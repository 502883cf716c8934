"""API keys, and what one made by another may."""

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
