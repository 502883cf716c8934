"""Organizations, their members and those who are invited."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from auth_service.accounts.model import Organization
from auth_service.roles.model import OWNER_ROLE

MAX_OWNED = 20
MAX_OPEN_INVITATIONS = 1_000
DEFAULT_FORMER_OWNER_ROLE = "manager"


class OrganizationNotFound(NotFound):
    """No such organization, or not the calling one."""

    reason = ErrorReason.ORGANIZATION_NOT_FOUND

    def __init__(self, organization_id: UUID) -> None:
        super().__init__(
            "there is no such organization, or it is not the one you act for", organizationId=organization_id
        )


class MemberNotFound(NotFound):
    """Neither a member nor an open invitation of the organization has that id."""

    reason = ErrorReason.USER_NOT_FOUND

    def __init__(self, user_id: UUID) -> None:
        super().__init__("this organization has no such member or invitation", userId=user_id)


class MemberExists(AlreadyExists):
    """The person belongs to the organization, or is invited to it."""

    reason = ErrorReason.MEMBER_EXISTS

    def __init__(self) -> None:
        super().__init__("this person is a member of the organization already, or invited to it")


class LastOwner(FailedPrecondition):
    """An organization keeps at least one owner."""

    reason = ErrorReason.LAST_OWNER

    def __init__(self) -> None:
        super().__init__("an organization keeps at least one owner; make somebody else owner first")


class OwnerRequired(PermissionDenied):
    """Only the owner hands over."""

    reason = ErrorReason.OWNER_REQUIRED

    def __init__(self) -> None:
        super().__init__("only the organization's owner, signed in and by no API key, can hand it over or give it up")


class InvitationForAnother(FailedPrecondition):
    """The invitation was sent to another e-mail."""

    reason = ErrorReason.INVITATION_FOR_ANOTHER

    def __init__(self) -> None:
        super().__init__("this invitation was sent to another e-mail; sign in with that one")


class InvitationVoid(InvalidArgument):
    """It was withdrawn, or whoever sent it can no longer give its role."""

    reason = ErrorReason.LINK_INVALID

    def __init__(self) -> None:
        super().__init__("this invitation is good no longer; ask the organization for a new one")


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organization and who owns it."""

    organization: Organization
    owner_id: UUID

    @property
    def id(self) -> UUID:
        """The organization's id."""
        return self.organization.id

    @property
    def kind(self) -> str:
        """ADVERTISER, PUBLISHER or PLATFORM."""
        return self.organization.kind

    @property
    def owner_role(self) -> str:
        """The role of its owners."""
        return OWNER_ROLE[self.organization.kind]


class State(StrEnum):
    """Whether somebody belongs to the organization, or is invited to it."""

    ACTIVE = "ACTIVE"
    INVITED = "INVITED"


@dataclass(frozen=True, slots=True)
class Member:
    """A member, by the person's id, or somebody who is invited, by the invitation's; `role` is a code."""

    id: UUID
    email: str
    name: str
    role: str
    state: State
    created_at: datetime
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Invitation:
    """An open invitation; `invited_by` answers for it, and must still be able to give the role when it is accepted."""

    id: UUID
    organization_id: UUID
    email: str
    role: str
    invited_by: UUID
    created_at: datetime
    expires_at: datetime

    @property
    def as_member(self) -> Member:
        """The invitation in the list of members."""
        return Member(self.id, self.email, "", self.role, State.INVITED, self.created_at, self.expires_at)
