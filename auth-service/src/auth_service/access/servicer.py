"""AccessService over gRPC."""

from uuid import UUID

from adplatform.auth.v1 import auth_pb2 as pb

from adlib import permissions
from adlib.access import api_key_to_pb
from adlib.identity import NO_SESSION, Person
from adlib.rpc import Call
from auth_service.access.service import AccessService


class AccessServicer:
    """AccessService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["AccessService"]

    def __init__(self, access: AccessService) -> None:
        self._access = access

    def GetAccess(self, request: pb.GetAccessRequest, _call: Call) -> pb.GetAccessResponse:
        session_id = UUID(request.session_id) if request.session_id else NO_SESSION
        person = Person(UUID(request.user_id), session_id)
        organization_id = UUID(request.organization_id) if request.organization_id else None
        access = self._access.find_access(person, organization_id)
        if access is None:
            return pb.GetAccessResponse(session_ended=True)
        return pb.GetAccessResponse(
            member=access.is_member,
            organization_kind=pb.Organization.Kind.ValueType(access.kind),
            permissions=permissions.codes(access.permissions),
            email_unverified=access.is_member and not access.email_verified,
        )

    def FindApiKey(self, request: pb.FindApiKeyRequest, _call: Call) -> pb.FindApiKeyResponse:
        key = self._access.api_key(request.hash)
        return pb.FindApiKeyResponse(api_key=api_key_to_pb(key) if key else None)

    def GetOrganizationName(
        self, request: pb.GetOrganizationNameRequest, _call: Call
    ) -> pb.GetOrganizationNameResponse:
        name = self._access.organization_name(UUID(request.organization_id))
        return pb.GetOrganizationNameResponse(name=name or "")
