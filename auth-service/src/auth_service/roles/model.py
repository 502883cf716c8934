"""The roles that every organization starts with, what they grant, and what an organization's kind can hold at all."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from adplatform.options.v1.options_pb2 import Permission


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of permissions; `organization_id` is the one that made it, `kinds` are those whose members can have it."""

    code: str
    name: str
    description: str
    permissions: frozenset[int]
    kinds: frozenset[str]
    organization_id: UUID | None = None

    @property
    def built_in(self) -> bool:
        """Whether every organization has it."""
        return self.organization_id is None


def _starting_with(*prefixes: str) -> frozenset[int]:
    return frozenset(code for code in _ALL if Permission.Name(code).startswith(prefixes))


_ALL = frozenset(Permission.values()) - {Permission.PERMISSION_UNSPECIFIED}
# Nobody but the platform's own staff approves: a customer's owner cannot approve their own payout.
_APPROVALS = {Permission.PAYMENTS_APPROVE, Permission.PUBLISHERS_APPROVE}
_ADVERTISING = _starting_with("CAMPAIGNS_", "PAYMENTS_") - _APPROVALS
_PUBLISHING = (_starting_with("PUBLISHERS_") - _APPROVALS) | {Permission.PAYMENTS_READ}
_RUNNING_AN_ORGANIZATION = _starting_with("USERS_", "ORGANIZATIONS_", "REPORTS_", "ANALYTICS_")

# The most that anybody in an organization can hold, whatever their role grants.
RIGHTS_OF_KIND: Mapping[str, frozenset[int]] = {
    "PLATFORM": _ALL,
    "ADVERTISER": _ADVERTISING | _RUNNING_AN_ORGANIZATION,
    "PUBLISHER": _PUBLISHING | _RUNNING_AN_ORGANIZATION,
}
OWNER_ROLE: Mapping[str, str] = {"ADVERTISER": "owner", "PUBLISHER": "publisher", "PLATFORM": "admin"}
_EVERY_KIND = frozenset(RIGHTS_OF_KIND)

ROLES = (
    Role("admin", "Admin", "Runs the platform", RIGHTS_OF_KIND["PLATFORM"], frozenset({"PLATFORM"})),
    Role("owner", "Owner", "Runs an advertiser", RIGHTS_OF_KIND["ADVERTISER"], frozenset({"ADVERTISER"})),
    Role("publisher", "Publisher", "Runs a publisher", RIGHTS_OF_KIND["PUBLISHER"], frozenset({"PUBLISHER"})),
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


def held(kind: str, granted: Collection[int]) -> frozenset[int]:
    """What a member of an organization of this kind holds by a role that grants these."""
    return RIGHTS_OF_KIND[kind].intersection(granted)
