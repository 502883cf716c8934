"""API keys, and the limits of a key that another key creates."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import InvalidField, NotFound
from auth_service.authorization.model import RightsExceeded

MAX_LIVE_KEYS = 100

Network = IPv4Network | IPv6Network


class ApiKeyNotFound(NotFound):
    """The organization has no such key, or it is already revoked."""

    reason = ErrorReason.API_KEY_NOT_FOUND

    def __init__(self, api_key_id: UUID) -> None:
        super().__init__("this organization has no such API key, or it is already revoked", apiKeyId=api_key_id)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its text; `permissions` are codes, and without `networks` every address may use it."""

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
    """The networks in these CIDR blocks; INVALID_FIELD."""
    try:
        return tuple(dict.fromkeys(ip_network(text) for text in texts))
    except ValueError:
        raise InvalidField("allowedCidrs", "must be networks such as 192.0.2.0/24 or 2001:db8::/32") from None


def require_within_parent(
    *, expires_at: datetime | None, networks: Sequence[Network],
    parent_expires_at: datetime | None, parent_networks: Sequence[Network],
) -> None:  # fmt: skip
    """RIGHTS_EXCEEDED if a key would outlive the key that creates it, or accept addresses that this one does not."""
    if parent_expires_at and (expires_at is None or expires_at > parent_expires_at):
        until = parent_expires_at.isoformat()
        raise RightsExceeded(
            "a key that another key creates cannot outlive it; set expireTime no later than its own", expireTime=until
        )
    if parent_networks and not (networks and all(_within(network, parent_networks) for network in networks)):
        raise RightsExceeded(
            "a key that another key creates cannot have more networks; set allowedCidrs within its own",
            allowedCidrs=",".join(map(str, parent_networks)),
        )


def _within(network: Network, others: Sequence[Network]) -> bool:
    # subnet_of raises TypeError for networks of different versions.
    return any(type(network) is type(other) and network.subnet_of(other) for other in others)  # type: ignore[arg-type]  # mypy does not see that both are of one version
