"""What a session may do, in one join."""

from uuid import UUID

from adplatform.auth.v1.auth_pb2 import Organization
from sqlalchemy import and_, bindparam, func, select

from adlib import permissions as bits
from adlib.access import NOBODY, Access
from adlib.db import Query, Session
from auth_service.tables import organizations, role_permissions, sessions, user_roles

_STANDING = Query(
    select(
        organizations.c.kind,
        func.array_agg(role_permissions.c.permission_code).label("codes"),
    )
    .select_from(
        sessions.outerjoin(
            user_roles,
            and_(
                user_roles.c.user_id == sessions.c.user_id,
                user_roles.c.organization_id == bindparam("organization_id"),
            ),
        )
        .outerjoin(organizations, organizations.c.id == user_roles.c.organization_id)
        .outerjoin(role_permissions, role_permissions.c.role_code == user_roles.c.role_code)
    )
    .where(
        sessions.c.id == bindparam("session_id"),
        sessions.c.user_id == bindparam("user_id"),
        sessions.c.ended_at.is_(None),
    )
    .group_by(organizations.c.kind)
)


def standing(db: Session, user_id: UUID, session_id: UUID, organization_id: UUID | None) -> Access | None:
    """The person's standing in the organization; None where the session has ended."""
    row = db.one(_STANDING, user_id=user_id, session_id=session_id, organization_id=organization_id)
    if row is None:
        return None
    if row.kind is None:
        return NOBODY
    return Access(True, Organization.Kind.Value(row.kind), bits.mask(code for code in row.codes if code is not None))
