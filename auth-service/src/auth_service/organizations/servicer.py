"""OrganizationService over gRPC."""

from uuid import UUID

from adplatform.auth.v1 import auth_pb2
from adplatform.auth.v1 import organizations_pb2 as pb

from adlib.clock import timestamp
from adlib.rpc import Call
from auth_service.invitations.service import InvitationAcceptance, InvitationService
from auth_service.members.service import MemberService
from auth_service.organizations.service import OrganizationService
from auth_service.tenancy.model import Member, Membership, Organization

_Kind = auth_pb2.Organization.Kind


class OrganizationServicer:
    """OrganizationService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["OrganizationService"]

    def __init__(
        self,
        organizations: OrganizationService,
        members: MemberService,
        invitations: InvitationService,
        acceptance: InvitationAcceptance,
    ) -> None:
        self._organizations = organizations
        self._members = members
        self._invitations = invitations
        self._acceptance = acceptance

    def CreateOrganization(self, request: pb.CreateOrganizationRequest, call: Call) -> auth_pb2.Organization:
        kind = _Kind.Name(request.kind or auth_pb2.Organization.ADVERTISER)
        idempotency = call.idempotency(request, _organization, auth_pb2.Organization)
        created = self._organizations.create(call.caller.user_id, request.name, kind, idempotency)
        call.attribute_to(call.caller.user_id, UUID(created.id))
        return created

    def UpdateOrganization(self, request: pb.UpdateOrganizationRequest, call: Call) -> auth_pb2.Organization:
        return _organization(self._organizations.rename(call.caller, UUID(request.organization_id), request.name))

    def TransferOwnership(self, request: pb.TransferOwnershipRequest, call: Call) -> auth_pb2.Organization:
        organization_id, user_id = UUID(request.organization_id), UUID(request.user_id)
        return _organization(
            self._organizations.transfer(call.caller, organization_id, user_id, request.former_owner_role)
        )

    def LeaveOrganization(self, request: pb.LeaveOrganizationRequest, call: Call) -> pb.LeaveOrganizationResponse:
        self._members.leave(call.caller.user_id, UUID(request.organization_id))
        return pb.LeaveOrganizationResponse()

    def ListUsers(self, request: pb.ListUsersRequest, call: Call) -> pb.ListUsersResponse:
        found = self._members.list_page(call.caller, call.page(request))
        return pb.ListUsersResponse(users=[_member(one) for one in found.rows], next_page_token=found.next_page_token)

    def InviteUser(self, request: pb.InviteUserRequest, call: Call) -> pb.Member:
        idempotency = call.idempotency(request, _member, pb.Member)
        return self._invitations.invite(call.caller, request.email, request.role, idempotency)

    def UpdateUser(self, request: pb.UpdateUserRequest, call: Call) -> pb.Member:
        return _member(self._members.change_role(call.caller, UUID(request.user_id), request.role))

    def RemoveUser(self, request: pb.RemoveUserRequest, call: Call) -> pb.RemoveUserResponse:
        self._members.remove(call.caller, UUID(request.user_id))
        return pb.RemoveUserResponse()

    def ResendInvitation(self, request: pb.ResendInvitationRequest, call: Call) -> pb.Member:
        return _member(self._invitations.resend(call.caller, UUID(request.user_id)))

    def AcceptInvitation(self, request: pb.AcceptInvitationRequest, call: Call) -> auth_pb2.Membership:
        membership = self._acceptance.join(request.token, call.caller.user_id, call.caller.session_id)
        call.attribute_to(call.caller.user_id, membership.organization.id)
        return _membership(membership)


def _organization(organization: Organization) -> auth_pb2.Organization:
    return auth_pb2.Organization(id=str(organization.id), name=organization.name, kind=_Kind.Value(organization.kind))


def _member(member: Member) -> pb.Member:
    return pb.Member(
        id=str(member.id),
        email=member.email,
        name=member.name,
        role=member.role,
        state=pb.Member.State.Value(member.state),
        create_time=timestamp(member.created_at),
        expire_time=timestamp(member.expires_at) if member.expires_at else None,
    )


def _membership(membership: Membership) -> auth_pb2.Membership:
    return auth_pb2.Membership(
        organization_id=str(membership.organization.id),
        organization_name=membership.organization.name,
        organization_kind=_Kind.Value(membership.organization.kind),
        role=membership.role,
        permissions=membership.permissions,
    )
