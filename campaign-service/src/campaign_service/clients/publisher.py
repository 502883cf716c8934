"""publisher-service, as the sync of figures uses it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from adplatform.publisher.v1 import publisher_pb2 as pb
from adplatform.publisher.v1 import publisher_pb2_grpc

from adlib.errors import Unavailable
from adlib.rpc import Remote

_MOST_ZONES = 500


@dataclass(frozen=True, slots=True)
class Owner:
    """Who earns from a zone; 7000 basis points are 70 %."""

    organization_id: UUID
    publisher_id: UUID
    basis_points: int


class Publishers(Protocol):
    """Knows whose zones earn."""

    def owners(self, zone_ids: Sequence[UUID]) -> Mapping[UUID, Owner]:
        """The owner of each zone that earns; the others are left out. UNAVAILABLE."""
        ...


class RemotePublishers:
    """The zone directory in publisher-service."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._stub = publisher_pb2_grpc.ZoneDirectoryServiceStub(remote.channel)

    def owners(self, zone_ids: Sequence[UUID]) -> Mapping[UUID, Owner]:
        """The owner of each zone that earns; the others are left out. UNAVAILABLE."""
        found: dict[UUID, Owner] = {}
        for start in range(0, len(zone_ids), _MOST_ZONES):
            request = pb.ResolveZonesRequest(zone_ids=[str(id) for id in zone_ids[start : start + _MOST_ZONES]])
            for zone in self._remote.call(self._stub.ResolveZones, request).zones:
                found[UUID(zone.zone_id)] = Owner(
                    UUID(zone.organization_id), UUID(zone.publisher_id), zone.share_basis_points
                )
        return found


class FakePublishers:
    """A zone directory in memory, for tests."""

    def __init__(self) -> None:
        self.known: dict[UUID, Owner] = {}
        self.is_down = False

    def owners(self, zone_ids: Sequence[UUID]) -> Mapping[UUID, Owner]:
        """The owner of each zone that earns."""
        if self.is_down:
            raise Unavailable("publisher-service does not answer; try again")
        return {id: self.known[id] for id in zone_ids if id in self.known}
