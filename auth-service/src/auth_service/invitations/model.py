"""Invitations to join an organization."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.options.v1.options_pb2 import Permission

from adlib.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from auth_service.tenancy.model import Member, MemberState

MAX_OPEN = 1_000
# With any of these, a member can become responsible for an invitation, by sending it or by changing its role.
INVITE_PERMISSIONS = frozenset({Permission.USERS_CREATE, Permission.USERS_UPDATE, Permission.ADMIN_FULL})


class MemberExists(AlreadyExists):
    """The user is already a member or invited."""

    reason = ErrorReason.MEMBER_EXISTS

    def __init__(self) -> None:
        super().__init__("this person is already a member of the organization or invited to it")


class InvitationForAnother(FailedPrecondition):
    """The invitation was sent to another e-mail address."""

    reason = ErrorReason.INVITATION_FOR_ANOTHER

    def __init__(self) -> None:
        super().__init__("this invitation was sent to another e-mail; sign in with that one")


class InvitationVoid(InvalidArgument):
    """The invitation was withdrawn, or its sender can no longer assign its role."""

    reason = ErrorReason.LINK_INVALID

    def __init__(self) -> None:
        super().__init__("this invitation is no longer valid; ask the organization for a new one")


@dataclass(frozen=True, slots=True)
class Invitation:
    """An open invitation. `invited_by` is responsible for it and must be able to assign its role on acceptance."""

    id: UUID
    organization_id: UUID
    email: str
    role: str
    invited_by: UUID
    created_at: datetime
    expires_at: datetime

    @property
    def as_member(self) -> Member:
        """The invitation as an entry in the list of members."""
        return Member(self.id, self.email, "", self.role, MemberState.INVITED, self.created_at, self.expires_at)
