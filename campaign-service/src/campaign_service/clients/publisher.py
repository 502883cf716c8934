"""The client of publisher-service's zone directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from adplatform.publisher.v1 import publisher_pb2 as pb
from adplatform.publisher.v1 import publisher_pb2_grpc
from typing_extensions import override

from adlib.rpc import Remote

_MAX_ZONES = 500


@dataclass(frozen=True, slots=True)
class Owner:
    """The publisher that owns a zone; 7000 basis points are 70 %."""

    organization_id: UUID
    publisher_id: UUID
    basis_points: int


class Publishers(Protocol):
    """The zone directory."""

    def owners(self, zone_ids: Sequence[UUID]) -> Mapping[UUID, Owner]:
        """The owners of these zones; zones without an approved publisher are left out. UNAVAILABLE."""
        ...


class RemotePublishers(Publishers):
    """The zone directory, over gRPC, asked for up to 500 zones a call."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._stub = publisher_pb2_grpc.ZoneDirectoryServiceStub(remote.channel)

    @override
    def owners(self, zone_ids: Sequence[UUID]) -> Mapping[UUID, Owner]:
        found: dict[UUID, Owner] = {}
        for start in range(0, len(zone_ids), _MAX_ZONES):
            request = pb.ResolveZonesRequest(zone_ids=[str(id) for id in zone_ids[start : start + _MAX_ZONES]])
            for zone in self._remote.call(self._stub.ResolveZones, request).zones:
                found[UUID(zone.zone_id)] = Owner(
                    UUID(zone.organization_id), UUID(zone.publisher_id), zone.share_basis_points
                )
        return found
