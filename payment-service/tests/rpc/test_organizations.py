"""Organizations' names, read from a server with the contract's rules."""

from uuid import UUID, uuid4

import pytest
from adplatform.auth.v1 import auth_pb2 as pb

from adlib.errors import Unavailable
from adlib.rpc import Call, Remote, ServiceProcess
from adtesting import FakeAccess, Identities, running
from payment_service.clients.organizations import RemoteOrganizations

KNOWN = uuid4()


class Access:
    """Knows one organization."""

    def GetOrganizationName(
        self, request: pb.GetOrganizationNameRequest, _call: Call
    ) -> pb.GetOrganizationNameResponse:
        return pb.GetOrganizationNameResponse(name="Acme" if UUID(request.organization_id) == KNOWN else "")

    def GetAccess(self, _request: pb.GetAccessRequest, _call: Call) -> pb.GetAccessResponse:
        raise NotImplementedError

    def FindApiKey(self, _request: pb.FindApiKeyRequest, _call: Call) -> pb.FindApiKeyResponse:
        raise NotImplementedError


def test_organization_name_comes_from_auth_service() -> None:
    identities = Identities("auth-service")
    identity = identities.service("payment-service")
    service = pb.DESCRIPTOR.services_by_name["AccessService"]
    with running(ServiceProcess({service: Access()}, identities.verifier(), FakeAccess())) as server:
        remote = Remote("auth-service", f"127.0.0.1:{server.port}", identity)
        organizations = RemoteOrganizations(remote)
        assert (organizations.name(KNOWN), organizations.name(uuid4())) == ("Acme", "")
        remote.close()


def test_organization_name_is_unavailable_without_auth_service() -> None:
    remote = Remote("auth-service", "127.0.0.1:1", Identities("auth-service").service("payment-service"))
    with pytest.raises(Unavailable, match="auth-service does not answer"):
        RemoteOrganizations(remote).name(KNOWN)
    remote.close()
