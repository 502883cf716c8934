"""Lists of members, and owners' successors, in the database."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Integer, Text, bindparam, literal, select, union_all

from adlib.db import Query, Session
from adlib.paging import Page
from auth_service.tables import invitations, user_roles, users
from auth_service.tenancy.model import Member, MemberState
from auth_service.tenancy.store import MEMBERS, to_member

_in_organization = user_roles.c.organization_id == bindparam("of_organization")
_SUCCESSOR = Query(
    select(user_roles.c.user_id)
    .where(_in_organization, user_roles.c.role_code == bindparam("role"), user_roles.c.user_id != bindparam("of_user"))
    .order_by(user_roles.c.created_at, user_roles.c.user_id)
    .limit(1)
)
_ROWS = bindparam("rows", type_=Integer)
# Each half reads at most as many rows as the page has.
_MEMBERS_PAGE = (
    MEMBERS.where(_in_organization, users.c.id < bindparam("before")).order_by(users.c.id.desc()).limit(_ROWS)
)
_INVITED_PAGE = (
    select(
        invitations.c.id, invitations.c.email, literal("", Text).label("name"), invitations.c.role_code.label("role"),
        literal(MemberState.INVITED.value, Text).label("state"), invitations.c.created_at, invitations.c.expires_at,
    )
    .where(
        invitations.c.organization_id == bindparam("of_organization"), invitations.c.accepted_at.is_(None),
        invitations.c.id < bindparam("before"),
    )
    .order_by(invitations.c.id.desc())
    .limit(_ROWS)
)  # fmt: skip
_both = union_all(select(_MEMBERS_PAGE.subquery()), select(_INVITED_PAGE.subquery())).subquery()
_PAGE = Query(select(_both).order_by(_both.c.id.desc()).limit(_ROWS))


def list_page(db: Session, organization_id: UUID, page: Page) -> Sequence[Member]:
    """Members and open invitations, newest first."""
    rows = db.all(_PAGE, of_organization=organization_id, before=page.before, rows=page.limit)
    return [to_member(row) for row in rows]


def longest_with_role(db: Session, organization_id: UUID, role: str, except_id: UUID) -> UUID | None:
    """The user, other than this one, who has been a member with this role the longest."""
    row = db.one(_SUCCESSOR, of_organization=organization_id, role=role, of_user=except_id)
    return row.user_id if row else None
