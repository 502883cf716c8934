"""The roles that every organization starts with, what they grant, and what an organization's kind can hold at all."""

import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.options.v1.options_pb2 import Permission
from confusable_homoglyphs import confusables  # type: ignore[import-untyped]  # it ships no types

from adlib.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied

MAX_CUSTOM_ROLES = 100


class RightsExceeded(PermissionDenied):
    """Nobody gives, changes or takes rights beyond their own."""

    reason = ErrorReason.RIGHTS_EXCEEDED


class RoleNotFound(NotFound):
    """No such role in the organization."""

    reason = ErrorReason.ROLE_NOT_FOUND

    def __init__(self, code: str) -> None:
        super().__init__("this organization has no such role; GET /roles lists those there are", role=code)


class RoleExists(AlreadyExists):
    """The organization has a role of that name, or of one that looks like it."""

    reason = ErrorReason.ROLE_EXISTS

    def __init__(self, name: str, looks_like: str = "") -> None:
        super().__init__(
            "there is a role of that name, or of one that looks like it; choose another",
            name=name,
            looksLike=looks_like or name,
        )


class RoleBuiltIn(FailedPrecondition):
    """Every organization has it."""

    reason = ErrorReason.ROLE_BUILT_IN

    def __init__(self, code: str) -> None:
        super().__init__("a role that every organization has cannot be changed; make one of your own", role=code)


class RoleInUse(FailedPrecondition):
    """Members or invitations have it."""

    reason = ErrorReason.ROLE_IN_USE

    def __init__(self, code: str) -> None:
        super().__init__("members or open invitations have this role; give them another one first", role=code)


class RoleNotAssignable(InvalidArgument):
    """It is for another kind of organization."""

    reason = ErrorReason.ROLE_NOT_ASSIGNABLE

    def __init__(self, code: str, kind: str) -> None:
        super().__init__("this role is not for this kind of organization", role=code, organizationKind=kind)


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of permissions; `organization_id` is who made it, `kinds` are those whose members can have it."""

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


def rights(role: Role, kind: str) -> frozenset[int]:
    """What the role gives in an organization of this kind; ROLE_NOT_ASSIGNABLE where it is not for that kind."""
    if kind not in role.kinds:
        raise RoleNotAssignable(role.code, kind)
    return held(kind, role.permissions)


def beyond(own: Collection[int], others: Collection[int]) -> frozenset[int]:
    """What of the others' rights one lacks; nothing where one's own satisfy every requirement."""
    return frozenset() if Permission.ADMIN_FULL in own else frozenset(others).difference(own)


def require_within(own: Collection[int], *others: Collection[int]) -> None:
    """The rule that everything here obeys: RIGHTS_EXCEEDED where any of the others' rights are beyond one's own."""
    if missing := beyond(own, frozenset().union(*others)):
        names = ",".join(Permission.Name(Permission.ValueType(code)) for code in sorted(missing))
        raise RightsExceeded(f"nobody gives, changes or takes rights beyond their own; you lack {names}", missing=names)


def require_free_name(name: str, others: Iterable[Role]) -> None:
    """ROLE_EXISTS where a role that every organization has, or one of these others, is named so or looks like it."""
    looks = lookalike(name)
    if taken := _BUILT_IN_NAMES.get(_spelled(looks)):
        raise RoleExists(name, taken)
    for other in others:
        if lookalike(other.name) == looks:
            raise RoleExists(name, other.name)


def lookalike(name: str) -> str:
    """What all names have in common that people take for this one.

    Characters of other scripts become the Latin ones they look like (Unicode's confusables), digits the letters they
    look like; invalidations, case and what shows nothing are left out.
    """
    plain = unicodedata.normalize("NFKD", name)
    found = confusables.is_confusable(plain, greedy=True) or ()
    latin = {one["character"]: _first_latin(one) for one in found if not one["character"].isascii()}
    seen = "".join(latin.get(char) or _decimal(char) for char in plain if unicodedata.category(char)[0] not in "CM")
    folded = seen.casefold().translate(_SAME_LOOK)
    return " ".join(folded.replace("rn", "m").replace("vv", "w").split())


def _first_latin(found: Mapping[str, Any]) -> str:
    return next((glyph["c"] for glyph in found["homoglyphs"] if glyph["c"].isascii() and glyph["c"].isalnum()), "")


def _decimal(char: str) -> str:
    """The ASCII digit of a digit of any script; other characters as they are."""
    return str(unicodedata.decimal(char, char))


def _spelled(looks: str) -> str:
    """The letters of a look-alike, those among them that are spelled with digits and signs: 4dm1n, o-w-n-e-r."""
    return "".join(char for char in looks.translate(_SPELLED) if char.isalnum())


_SAME_LOOK = str.maketrans("01|i5", "ollls")
_SPELLED = str.maketrans("3478@$!", "eatbasl")
_BUILT_IN_NAMES: Mapping[str, str] = {
    _spelled(lookalike(name)): role.name for role in ROLES for name in (role.name, role.code)
}


class Reason(StrEnum):
    """What decides whether somebody may do something."""

    GRANTED_BY_ROLE = "GRANTED_BY_ROLE"
    GRANTED_BY_ADMIN_FULL = "GRANTED_BY_ADMIN_FULL"
    NOT_A_MEMBER = "NOT_A_MEMBER"
    NOT_IN_ROLE = "NOT_IN_ROLE"
    NOT_IN_KIND = "NOT_IN_KIND"

    @property
    def allows(self) -> bool:
        """Whether they may."""
        return self in (Reason.GRANTED_BY_ROLE, Reason.GRANTED_BY_ADMIN_FULL)


def why(kind: str, role: Role | None, permission: int) -> Reason:
    """Whether a person with this role, or without one, may do it in an organization of this kind."""
    if role is None:
        return Reason.NOT_A_MEMBER
    has = held(kind, role.permissions)
    if permission in has:
        return Reason.GRANTED_BY_ROLE
    if Permission.ADMIN_FULL in has:
        return Reason.GRANTED_BY_ADMIN_FULL
    return Reason.NOT_IN_KIND if permission in role.permissions else Reason.NOT_IN_ROLE


def in_words(reason: Reason, role: Role | None, permission: int) -> str:
    """The reason for people."""
    name = Permission.Name(Permission.ValueType(permission))
    role_name = role.name if role else ""
    return {
        Reason.GRANTED_BY_ROLE: f"Their role {role_name} grants {name}.",
        Reason.GRANTED_BY_ADMIN_FULL: f"Their role {role_name} grants ADMIN_FULL, which includes {name}.",
        Reason.NOT_A_MEMBER: "They are no member of this organization.",
        Reason.NOT_IN_ROLE: f"Their role {role_name} does not grant {name}.",
        Reason.NOT_IN_KIND: f"Their role {role_name} grants {name}, but organizations of this kind cannot hold it.",
    }[reason]
