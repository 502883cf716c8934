"""Custom roles: names that cannot be mistaken for another role's, and explanations of permissions."""

import unicodedata
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.options.v1.options_pb2 import Permission
from confusable_homoglyphs import confusables  # type: ignore[import-untyped]  # it ships no types

from adlib.errors import AlreadyExists, FailedPrecondition
from auth_service.authorization.model import ROLES, Role, effective

MAX_CUSTOM_ROLES = 100


class RoleExists(AlreadyExists):
    """The organization has a role with this name or one that looks like it."""

    reason = ErrorReason.ROLE_EXISTS

    def __init__(self, name: str, looks_like: str = "") -> None:
        super().__init__(
            "a role with this name, or one that looks like it, exists; choose another",
            name=name,
            looksLike=looks_like or name,
        )


class RoleBuiltIn(FailedPrecondition):
    """Built-in roles cannot be changed."""

    reason = ErrorReason.ROLE_BUILT_IN

    def __init__(self, code: str) -> None:
        super().__init__("a built-in role cannot be changed; create a role of your own", role=code)


class RoleInUse(FailedPrecondition):
    """Members or open invitations have the role."""

    reason = ErrorReason.ROLE_IN_USE

    def __init__(self, code: str) -> None:
        super().__init__("members or open invitations have this role; give them another one first", role=code)


def require_available_name(name: str, others: Iterable[Role]) -> None:
    """ROLE_EXISTS if the name equals or looks like a built-in role's or one of these."""
    skeleton = name_skeleton(name)
    if taken := _BUILT_IN_NAMES.get(_letters(skeleton)):
        raise RoleExists(name, taken)
    for other in others:
        if name_skeleton(other.name) == skeleton:
            raise RoleExists(name, other.name)


def name_skeleton(name: str) -> str:
    """The same text for all names that people cannot distinguish (after Unicode's UTS 39).

    Characters of other scripts become the Latin letters that they look like (Unicode's confusables), and digits the
    letters that they look like. Marks, case and invisible characters are removed.
    """
    plain = unicodedata.normalize("NFKD", name)
    found = confusables.is_confusable(plain, greedy=True) or ()
    latin = {one["character"]: _first_latin(one) for one in found if not one["character"].isascii()}
    visible = "".join(latin.get(char) or _decimal(char) for char in plain if unicodedata.category(char)[0] not in "CM")
    folded = visible.casefold().translate(_CONFUSABLE_ASCII)
    return " ".join(folded.replace("rn", "m").replace("vv", "w").split())


def _first_latin(found: Mapping[str, Any]) -> str:
    return next((glyph["c"] for glyph in found["homoglyphs"] if glyph["c"].isascii() and glyph["c"].isalnum()), "")


def _decimal(char: str) -> str:
    """The ASCII digit for a digit of any script; any other character unchanged."""
    return str(unicodedata.decimal(char, char))


def _letters(skeleton: str) -> str:
    """The skeleton's letters, including those spelled with digits and signs: 4dm1n, o-w-n-e-r."""
    return "".join(char for char in skeleton.translate(_LEETSPEAK) if char.isalnum())


_CONFUSABLE_ASCII = str.maketrans("01|i5", "ollls")
_LEETSPEAK = str.maketrans("3478@$!", "eatbasl")
_BUILT_IN_NAMES: Mapping[str, str] = {
    _letters(name_skeleton(name)): role.name for role in ROLES for name in (role.name, role.code)
}


class Reason(StrEnum):
    """Why a member has a permission or lacks it."""

    GRANTED_BY_ROLE = "GRANTED_BY_ROLE"
    GRANTED_BY_ADMIN_FULL = "GRANTED_BY_ADMIN_FULL"
    NOT_A_MEMBER = "NOT_A_MEMBER"
    NOT_IN_ROLE = "NOT_IN_ROLE"
    NOT_IN_KIND = "NOT_IN_KIND"

    @property
    def is_granted(self) -> bool:
        """Whether the member has the permission."""
        return self in (Reason.GRANTED_BY_ROLE, Reason.GRANTED_BY_ADMIN_FULL)


def permission_reason(kind: str, role: Role | None, permission: int) -> Reason:
    """Why a user with this role, or without one, has or lacks the permission in an organization of this kind."""
    if role is None:
        return Reason.NOT_A_MEMBER
    held = effective(kind, role.permissions)
    if permission in held:
        return Reason.GRANTED_BY_ROLE
    if Permission.ADMIN_FULL in held:
        return Reason.GRANTED_BY_ADMIN_FULL
    return Reason.NOT_IN_KIND if permission in role.permissions else Reason.NOT_IN_ROLE


def described(reason: Reason, role: Role | None, permission: int) -> str:
    """The reason as a sentence."""
    name = Permission.Name(Permission.ValueType(permission))
    role_name = role.name if role else ""
    return {
        Reason.GRANTED_BY_ROLE: f"Their role {role_name} grants {name}.",
        Reason.GRANTED_BY_ADMIN_FULL: f"Their role {role_name} grants ADMIN_FULL, which includes {name}.",
        Reason.NOT_A_MEMBER: "They are not a member of this organization.",
        Reason.NOT_IN_ROLE: f"Their role {role_name} does not grant {name}.",
        Reason.NOT_IN_KIND: f"Their role {role_name} grants {name}, but organizations of this kind cannot hold it.",
    }[reason]
