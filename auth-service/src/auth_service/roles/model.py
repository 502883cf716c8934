"""The roles that every organization starts with, and what they grant."""

from dataclasses import dataclass

from adplatform.options.v1.options_pb2 import Permission


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of permissions."""

    code: str
    name: str
    description: str
    permissions: frozenset[int]


_APPROVALS = {Permission.PAYMENTS_APPROVE, Permission.PUBLISHERS_APPROVE}
_ALL = set(Permission.values()) - {Permission.PERMISSION_UNSPECIFIED}
_ADVERTISING = {code for code in _ALL if Permission.Name(code).startswith(("CAMPAIGNS_", "PAYMENTS_"))} - _APPROVALS
_PUBLISHING = {code for code in _ALL if Permission.Name(code).startswith("PUBLISHERS_")} - _APPROVALS
_RUNNING_AN_ORGANIZATION = {
    code for code in _ALL if Permission.Name(code).startswith(("USERS_", "ORGANIZATIONS_", "REPORTS_", "ANALYTICS_"))
}

# Nobody but the platform's own admin approves: a customer's owner cannot approve their own payout.
ROLES = (
    Role("admin", "Admin", "Runs the platform", frozenset(_ALL)),
    Role("owner", "Owner", "Runs an advertiser", frozenset(_ADVERTISING | _RUNNING_AN_ORGANIZATION)),
    Role(
        "publisher",
        "Publisher",
        "Runs a publisher",
        frozenset(_PUBLISHING | _RUNNING_AN_ORGANIZATION | {Permission.PAYMENTS_READ}),
    ),
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
    ),
)

OWNER_ROLE = {"ADVERTISER": "owner", "PUBLISHER": "publisher", "PLATFORM": "admin"}
