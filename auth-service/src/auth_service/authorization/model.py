"""Roles, their permissions, and the rule that a member cannot grant more than their own permissions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.options.v1.options_pb2 import Permission

from adlib.errors import InvalidArgument, NotFound, PermissionDenied
from auth_service.tenancy.model import Tenant


class RightsExceeded(PermissionDenied):
    """The caller would grant, change or revoke permissions beyond their own."""

    reason = ErrorReason.RIGHTS_EXCEEDED


class RoleNotFound(NotFound):
    """The organization has no such role."""

    reason = ErrorReason.ROLE_NOT_FOUND

    def __init__(self, code: str) -> None:
        super().__init__("this organization has no such role; GET /roles lists its roles", role=code)


class RoleNotAssignable(InvalidArgument):
    """The role is for another kind of organization."""

    reason = ErrorReason.ROLE_NOT_ASSIGNABLE

    def __init__(self, code: str, kind: str) -> None:
        super().__init__("this role is not for this kind of organization", role=code, organizationKind=kind)


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of permissions that members of organizations of these `kinds` can have.

    `organization_id` is the organization of a custom role and None for a built-in one.
    """

    code: str
    name: str
    description: str
    permissions: frozenset[int]
    kinds: frozenset[str]
    organization_id: UUID | None = None

    @property
    def is_built_in(self) -> bool:
        """Whether every organization has it."""
        return self.organization_id is None


def _starting_with(*prefixes: str) -> frozenset[int]:
    return frozenset(code for code in _ALL if Permission.Name(code).startswith(prefixes))


_ALL = frozenset(Permission.values()) - {Permission.PERMISSION_UNSPECIFIED}
# Only the platform's own staff approves: an owner must not approve their own payout.
_APPROVALS = {Permission.PAYMENTS_APPROVE, Permission.PUBLISHERS_APPROVE}
_ADVERTISING = _starting_with("CAMPAIGNS_", "PAYMENTS_") - _APPROVALS
_PUBLISHING = (_starting_with("PUBLISHERS_") - _APPROVALS) | {Permission.PAYMENTS_READ}
_ADMINISTRATION = _starting_with("USERS_", "ORGANIZATIONS_", "REPORTS_", "ANALYTICS_")

# The maximum permissions of a member, by the organization's kind, even if the role grants more.
MAX_PERMISSIONS: Mapping[str, frozenset[int]] = {
    "PLATFORM": _ALL,
    "ADVERTISER": _ADVERTISING | _ADMINISTRATION,
    "PUBLISHER": _PUBLISHING | _ADMINISTRATION,
}
_EVERY_KIND = frozenset(MAX_PERMISSIONS)

ROLES = (
    Role("admin", "Admin", "Runs the platform", MAX_PERMISSIONS["PLATFORM"], frozenset({"PLATFORM"})),
    Role("owner", "Owner", "Runs an advertiser", MAX_PERMISSIONS["ADVERTISER"], frozenset({"ADVERTISER"})),
    Role("publisher", "Publisher", "Runs a publisher", MAX_PERMISSIONS["PUBLISHER"], frozenset({"PUBLISHER"})),
    Role(
        "manager",
        "Manager",
        "Manages campaigns and reads reports",
        frozenset(
            {
                Permission.CAMPAIGNS_READ,
                Permission.CAMPAIGNS_CREATE,
                Permission.CAMPAIGNS_UPDATE,
                Permission.CAMPAIGNS_START,
                Permission.CAMPAIGNS_PAUSE,
                Permission.PAYMENTS_READ,
                Permission.REPORTS_READ,
                Permission.REPORTS_EXPORT,
                Permission.ANALYTICS_READ,
            }
        ),
        _EVERY_KIND,
    ),
    Role(
        "member",
        "Member",
        "Looks at campaigns and reports",
        frozenset(
            {
                Permission.CAMPAIGNS_READ,
                Permission.PAYMENTS_READ,
                Permission.REPORTS_READ,
                Permission.ANALYTICS_READ,
            }
        ),
        _EVERY_KIND,
    ),
)
BUILT_IN: Mapping[str, Role] = {role.code: role for role in ROLES}


def effective(kind: str, granted: Collection[int]) -> frozenset[int]:
    """The permissions of a member whose role grants these, in an organization of this kind."""
    return MAX_PERMISSIONS[kind].intersection(granted)


def assignable_permissions(role: Role, kind: str) -> frozenset[int]:
    """The permissions that a member with the role has; ROLE_NOT_ASSIGNABLE in another kind of organization."""
    if kind not in role.kinds:
        raise RoleNotAssignable(role.code, kind)
    return effective(kind, role.permissions)


def missing(own: Collection[int], required: Collection[int]) -> frozenset[int]:
    """The required permissions that are not among one's own; none for ADMIN_FULL."""
    return frozenset() if Permission.ADMIN_FULL in own else frozenset(required).difference(own)


def require_within(own: Collection[int], *required: Collection[int]) -> None:
    """RIGHTS_EXCEEDED if any of the required permissions is not among one's own."""
    if lacking := missing(own, frozenset().union(*required)):
        names = ",".join(Permission.Name(Permission.ValueType(code)) for code in sorted(lacking))
        raise RightsExceeded(
            f"you cannot grant, change or revoke permissions beyond your own; you lack {names}", missing=names
        )


@dataclass(frozen=True, slots=True)
class Actor:
    """A caller with their locked organization and their current permissions in it."""

    user_id: UUID
    tenant: Tenant
    permissions: frozenset[int]

    def require(self, *required: Collection[int]) -> None:
        """RIGHTS_EXCEEDED if any of these permissions is not among the actor's own."""
        require_within(self.permissions, *required)
