"""Reads the roles and API keys that authorize callers."""

from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, func, or_, select

from adlib.db import Query, Session
from auth_service.authorization.model import BUILT_IN, Role
from auth_service.tables import api_keys, organizations, role_permissions, roles, user_roles

# More roles than a user's organizations together are expected to have.
_MAX_LISTED = 2_000

_granted = (
    select(func.array_agg(role_permissions.c.permission_code))
    .where(role_permissions.c.role_code == roles.c.code)
    .scalar_subquery()
    .label("codes")
)
# Select of `Role`s, for other stores to filter.
ROLES = (
    select(roles.c.code, roles.c.name, roles.c.description, roles.c.organization_id, organizations.c.kind, _granted)
    .select_from(roles.outerjoin(organizations, organizations.c.id == roles.c.organization_id))
    .order_by(roles.c.organization_id.nulls_first(), func.lower(roles.c.name))
    .limit(_MAX_LISTED)
)  # fmt: skip
IS_BUILT_IN = roles.c.organization_id.is_(None)
IN_ORGANIZATION = roles.c.organization_id == bindparam("organization_id")
_FIND = Query(ROLES.where(roles.c.code == bindparam("code"), or_(IS_BUILT_IN, IN_ORGANIZATION)))
_OF_MEMBER = Query(
    ROLES.where(
        roles.c.code.in_(
            select(user_roles.c.role_code).where(
                user_roles.c.user_id == bindparam("user_id"),
                user_roles.c.organization_id == bindparam("of_organization"),
            )
        )
    )
)
_REVOKED = Query(select(api_keys.c.id).where(api_keys.c.id == bindparam("id"), api_keys.c.revoked_at.is_not(None)))


def find_role(db: Session, organization_id: UUID, code: str) -> Role | None:
    """The built-in or custom role of the organization with this code."""
    row = db.one(_FIND, organization_id=organization_id, code=code)
    return to_role(row) if row else None


def role_of_member(db: Session, organization_id: UUID, user_id: UUID) -> Role | None:
    """The user's role in the organization; None if they are not a member."""
    row = db.one(_OF_MEMBER, of_organization=organization_id, user_id=user_id)
    return to_role(row) if row else None


def is_api_key_revoked_any_tenant(db: Session, api_key_id: UUID) -> bool:
    """Whether the API key, which is the caller's own, is revoked."""
    return db.one(_REVOKED, id=api_key_id) is not None


def to_role(row: Any) -> Role:
    """The role in a row of `ROLES`."""
    built_in = BUILT_IN.get(row.code)
    return Role(
        code=row.code,
        name=row.name,
        description=row.description,
        permissions=frozenset(row.codes or ()),
        # A built-in role of another release, unknown to this one, cannot be assigned.
        kinds=frozenset({row.kind}) if row.kind else built_in.kinds if built_in else frozenset(),
        organization_id=row.organization_id,
    )
