"""Organizations and their members."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import NotFound

# The role of an organization's owners, by the organization's kind.
OWNER_ROLE: Mapping[str, str] = {"ADVERTISER": "owner", "PUBLISHER": "publisher", "PLATFORM": "admin"}


class OrganizationNotFound(NotFound):
    """The organization does not exist or is not the caller's."""

    reason = ErrorReason.ORGANIZATION_NOT_FOUND

    def __init__(self, organization_id: UUID) -> None:
        super().__init__(
            "there is no such organization, or it is not the one you act for", organizationId=organization_id
        )


class MemberNotFound(NotFound):
    """No member or open invitation of the organization has this id."""

    reason = ErrorReason.USER_NOT_FOUND

    def __init__(self, user_id: UUID) -> None:
        super().__init__("this organization has no such member or invitation", userId=user_id)


@dataclass(frozen=True, slots=True)
class Organization:
    """A tenant; `kind` is ADVERTISER, PUBLISHER or PLATFORM."""

    id: UUID
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organization and its owner."""

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


@dataclass(frozen=True, slots=True)
class Membership:
    """A user's membership in an organization; `permissions` are codes, ascending."""

    organization: Organization
    role: str
    permissions: Sequence[int]


class MemberState(StrEnum):
    """Whether a listed person is a member or was invited."""

    ACTIVE = "ACTIVE"
    INVITED = "INVITED"


@dataclass(frozen=True, slots=True)
class Member:
    """A member (`id` is the user's) or an invited person (`id` is the invitation's); `role` is a code."""

    id: UUID
    email: str
    name: str
    role: str
    state: MemberState
    created_at: datetime
    expires_at: datetime | None = None
