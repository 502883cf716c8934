"""Organizations and memberships in the database."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Text, bindparam, cast, delete, insert, literal, null, select, update

from adlib.db import Query, Session, Transaction
from auth_service.tables import organizations, user_roles, users
from auth_service.tenancy.model import Member, MemberState, Organization, Tenant

_BATCH = 500
_BEFORE_ALL = UUID(int=0)

_ADD = Query(
    insert(organizations).values(
        id=bindparam("id"), name=bindparam("name"), kind=bindparam("kind"), owner_id=bindparam("owner_id"),
        created_at=bindparam("at"), updated_at=bindparam("at"),
    )
)  # fmt: skip
_PLATFORM = Query(select(organizations.c.id).where(organizations.c.kind == "PLATFORM"))
# With key_share: FOR UPDATE would wait for every transaction that adds a row which references the organization.
_LOCK = Query(
    select(organizations.c.id, organizations.c.name, organizations.c.kind, organizations.c.owner_id)
    .where(organizations.c.id == bindparam("id"))
    .with_for_update(key_share=True)
)
_SET_OWNER = Query(
    update(organizations)
    .where(organizations.c.id == bindparam("of_id"))
    .values(owner_id=bindparam("new_owner"), updated_at=bindparam("at"))
)

_in_organization = user_roles.c.organization_id == bindparam("of_organization")
# Select of `Member`s, for other stores to filter.
MEMBERS = select(
    users.c.id, users.c.email, users.c.name, user_roles.c.role_code.label("role"),
    literal(MemberState.ACTIVE.value, Text).label("state"), user_roles.c.created_at,
    cast(null(), DateTime(timezone=True)).label("expires_at"),
).select_from(user_roles.join(users, users.c.id == user_roles.c.user_id))  # fmt: skip
_membership = _in_organization & (user_roles.c.user_id == bindparam("of_user"))
_MEMBER = Query(MEMBERS.where(_membership))
_ADD_MEMBER = Query(
    insert(user_roles).values(
        user_id=bindparam("user_id"), organization_id=bindparam("organization_id"),
        role_code=bindparam("role"), created_at=bindparam("at"),
    )
)  # fmt: skip
_SET_ROLE = Query(update(user_roles).where(_membership).values(role_code=bindparam("new_role")))
_REMOVE_MEMBER = Query(delete(user_roles).where(_membership))
_ORGANIZATION_IDS = Query(
    select(user_roles.c.organization_id)
    .where(user_roles.c.user_id == bindparam("of_user"), user_roles.c.organization_id > bindparam("after"))
    .order_by(user_roles.c.organization_id)
    .limit(_BATCH)
)


def add(tx: Transaction, organization: Organization, owner_id: UUID, at: datetime) -> None:
    """Stores a new organization with its owner as a member."""
    tx.execute(
        _ADD, id=organization.id, name=organization.name, kind=organization.kind, owner_id=owner_id, at=at
    )  # fmt: skip
    tenant = Tenant(organization, owner_id)
    add_member(tx, tenant.id, owner_id, tenant.owner_role, at)


def platform_exists(db: Session) -> bool:
    """Whether the platform's own organization exists."""
    return db.one(_PLATFORM) is not None


def lock(tx: Transaction, organization_id: UUID) -> Tenant | None:
    """The organization; the lock serializes changes of its members, invitations, roles and API keys."""
    row = tx.one(_LOCK, id=organization_id)
    return Tenant(Organization(row.id, row.name, row.kind), row.owner_id) if row else None


def set_owner(tx: Transaction, organization_id: UUID, user_id: UUID, at: datetime) -> None:
    """Makes the user the organization's owner."""
    tx.execute(_SET_OWNER, of_id=organization_id, new_owner=user_id, at=at)


def member(db: Session, organization_id: UUID, user_id: UUID) -> Member | None:
    """The member with this id."""
    row = db.one(_MEMBER, of_organization=organization_id, of_user=user_id)
    return to_member(row) if row else None


def add_member(tx: Transaction, organization_id: UUID, user_id: UUID, role: str, at: datetime) -> None:
    """Makes the user a member."""
    tx.execute(_ADD_MEMBER, user_id=user_id, organization_id=organization_id, role=role, at=at)


def set_role(tx: Transaction, organization_id: UUID, user_id: UUID, role: str) -> None:
    """Changes the member's role."""
    tx.execute(_SET_ROLE, of_organization=organization_id, of_user=user_id, new_role=role)


def remove_member(tx: Transaction, organization_id: UUID, user_id: UUID) -> None:
    """Ends the membership."""
    tx.execute(_REMOVE_MEMBER, of_organization=organization_id, of_user=user_id)


def organization_ids_any_tenant(db: Session, user_id: UUID) -> Iterator[UUID]:
    """Every organization that the user is a member of, ordered by id: transactions that lock them cannot deadlock."""
    after = _BEFORE_ALL
    while rows := db.all(_ORGANIZATION_IDS, of_user=user_id, after=after):
        for row in rows:
            yield row.organization_id
        after = rows[-1].organization_id


def to_member(row: Any) -> Member:
    """The member in a row of `MEMBERS`."""
    return Member(**{**row._asdict(), "state": MemberState(row.state)})
