"""A user's memberships in the database."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import bindparam, func, select

from adlib.db import Query, Session
from auth_service.authorization.model import effective
from auth_service.tables import organizations, role_permissions, user_roles
from auth_service.tenancy.model import Membership, Organization

_MAX_LISTED = 200

_MEMBERSHIPS = Query(
    select(
        organizations.c.id, organizations.c.name, organizations.c.kind, user_roles.c.role_code,
        func.array_agg(role_permissions.c.permission_code)
        .filter(role_permissions.c.permission_code.is_not(None))
        .label("codes"),
    )
    .select_from(
        user_roles.join(organizations, organizations.c.id == user_roles.c.organization_id)
        .outerjoin(role_permissions, role_permissions.c.role_code == user_roles.c.role_code)
    )
    .where(user_roles.c.user_id == bindparam("user_id"))
    .group_by(organizations.c.id, organizations.c.name, organizations.c.kind, user_roles.c.role_code)
    .order_by(organizations.c.id)
    .limit(_MAX_LISTED)
)  # fmt: skip


def memberships(db: Session, user_id: UUID) -> Sequence[Membership]:
    """The user's memberships, oldest organization first."""
    return [
        Membership(
            Organization(row.id, row.name, row.kind), row.role_code, sorted(effective(row.kind, row.codes or ()))
        )
        for row in db.all(_MEMBERSHIPS, user_id=user_id)
    ]
