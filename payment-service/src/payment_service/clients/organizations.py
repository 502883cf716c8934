"""auth-service, as receipts use it."""

from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

from adplatform.auth.v1 import auth_pb2 as pb
from adplatform.auth.v1 import auth_pb2_grpc

from adlib.errors import Unavailable
from adlib.rpc import Remote

# Somebody waits for a receipt, which is one without the name too.
_WITHIN_S = 2.0


class Organizations(Protocol):
    """Knows what organizations call themselves."""

    def name(self, organization_id: UUID) -> str:
        """The organization's name; empty where there is no such organization. UNAVAILABLE, DEADLINE_EXCEEDED."""
        ...


class RemoteOrganizations:
    """The organizations of auth-service."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._stub = auth_pb2_grpc.AccessServiceStub(remote.channel)

    def name(self, organization_id: UUID) -> str:
        """The organization's name; empty where there is no such organization. UNAVAILABLE, DEADLINE_EXCEEDED."""
        request = pb.GetOrganizationNameRequest(organization_id=str(organization_id))
        return self._remote.call(self._stub.GetOrganizationName, request, within_s=_WITHIN_S).name


class FakeOrganizations:
    """Organizations in memory, for tests. `asked` is how often; `is_down`: does not answer."""

    def __init__(self, names: Mapping[UUID, str] | None = None) -> None:
        self.names = dict(names or {})
        self.asked = 0
        self.is_down = False

    def name(self, organization_id: UUID) -> str:
        """The organization's name; empty where there is no such organization."""
        self.asked += 1
        if self.is_down:
            raise Unavailable("auth-service does not answer; try again")
        return self.names.get(organization_id, "")
