"""Organizations, members and invitations in the database."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    DateTime,
    Integer,
    Text,
    bindparam,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    union_all,
    update,
)

from adlib.db import Query, Session, Transaction
from adlib.paging import Page
from auth_service.accounts.model import Organization
from auth_service.organizations.model import Invitation, Member, State, Tenant
from auth_service.tables import invitations, organizations, user_roles, users

_TENANT = select(organizations.c.id, organizations.c.name, organizations.c.kind, organizations.c.owner_id).where(
    organizations.c.id == bindparam("id")
)
# Not FOR UPDATE, which would wait for everybody who adds a row that names the organization.
_LOCK = Query(_TENANT.with_for_update(key_share=True))
_LOCK_PERSON = Query(select(users.c.id).where(users.c.id == bindparam("id")).with_for_update(key_share=True))
_OWNED = Query(select(func.count().label("n")).where(organizations.c.owner_id == bindparam("owner_id")))
_RENAME = Query(
    update(organizations)
    .where(organizations.c.id == bindparam("of_id"))
    .values(name=bindparam("new_name"), updated_at=bindparam("at"))
)
_SET_OWNER = Query(
    update(organizations)
    .where(organizations.c.id == bindparam("of_id"))
    .values(owner_id=bindparam("new_owner"), updated_at=bindparam("at"))
)

_in_organization = user_roles.c.organization_id == bindparam("of_organization")
_membership = _in_organization & (user_roles.c.user_id == bindparam("of_user"))
_MEMBERS = select(
    users.c.id, users.c.email, users.c.name, user_roles.c.role_code.label("role"),
    literal(State.ACTIVE.value, Text).label("state"), user_roles.c.created_at,
    cast(null(), DateTime(timezone=True)).label("expires_at"),
).select_from(user_roles.join(users, users.c.id == user_roles.c.user_id))  # fmt: skip
_MEMBER = Query(_MEMBERS.where(_membership))
_MEMBER_BY_EMAIL = Query(_MEMBERS.where(_in_organization, users.c.email == bindparam("email")))
_ADD_MEMBER = Query(
    insert(user_roles).values(
        user_id=bindparam("user_id"), organization_id=bindparam("organization_id"),
        role_code=bindparam("role"), created_at=bindparam("at"),
    )
)  # fmt: skip
_SET_ROLE = Query(update(user_roles).where(_membership).values(role_code=bindparam("new_role")))
_REMOVE_MEMBER = Query(delete(user_roles).where(_membership))
_OTHER_OWNER = Query(
    select(user_roles.c.user_id)
    .where(_in_organization, user_roles.c.role_code == bindparam("role"), user_roles.c.user_id != bindparam("of_user"))
    .order_by(user_roles.c.created_at, user_roles.c.user_id)
    .limit(1)
)

_open = (invitations.c.organization_id == bindparam("of_organization")) & invitations.c.accepted_at.is_(None)
_open_one = _open & (invitations.c.id == bindparam("of_id"))
_INVITATION = select(
    invitations.c.id, invitations.c.organization_id, invitations.c.email, invitations.c.role_code.label("role"),
    invitations.c.invited_by, invitations.c.created_at, invitations.c.expires_at,
)  # fmt: skip
_ORGANIZATION_OF = Query(
    select(invitations.c.organization_id).where(
        invitations.c.id == bindparam("id"), invitations.c.accepted_at.is_(None)
    )
)
_OPEN_INVITATION = Query(_INVITATION.where(_open_one))
_OPEN_INVITATION_BY_EMAIL = Query(_INVITATION.where(_open, invitations.c.email == bindparam("email")))
_COUNT_OPEN = Query(select(func.count().label("n")).where(_open))
_ADD_INVITATION = Query(
    insert(invitations).values(
        id=bindparam("id"), organization_id=bindparam("organization_id"), email=bindparam("email"),
        role_code=bindparam("role"), invited_by=bindparam("invited_by"), created_at=bindparam("created_at"),
        expires_at=bindparam("expires_at"),
    )
)  # fmt: skip
_CHANGE_INVITATION = Query(
    update(invitations)
    .where(_open_one)
    .values(role_code=bindparam("new_role"), invited_by=bindparam("by"), expires_at=bindparam("until"))
)
_ACCEPT_INVITATION = Query(update(invitations).where(_open_one).values(accepted_at=bindparam("at")))
_REMOVE_INVITATION = Query(delete(invitations).where(_open_one))

# What an account gave before its e-mail was verified, some at a time.
_SOME = 500
_ORGANIZATIONS_OF = Query(
    select(user_roles.c.organization_id)
    .where(user_roles.c.user_id == bindparam("of_user"), user_roles.c.organization_id > bindparam("after"))
    .order_by(user_roles.c.organization_id)
    .limit(_SOME)
)
_accepted = (invitations.c.organization_id == bindparam("of_organization")) & invitations.c.accepted_at.is_not(None)
_HAS_JOINED = Query(select(invitations.c.id).where(_accepted, invitations.c.email == bindparam("email")).limit(1))
_OTHERS = Query(_MEMBERS.where(_in_organization, user_roles.c.user_id != bindparam("of_user")).limit(_SOME))
_invited_by = (
    select(invitations.c.email).where(_accepted, invitations.c.invited_by == bindparam("of_user")).scalar_subquery()
)
_INVITED_BY = Query(
    _MEMBERS.where(
        _in_organization,
        users.c.email.in_(_invited_by),
        user_roles.c.user_id.not_in([bindparam("of_user"), bindparam("owner_id")]),
    ).limit(_SOME)
)
_OPEN_INVITATIONS = Query(_INVITATION.where(_open).limit(_SOME))
_OPEN_INVITATIONS_BY = Query(_INVITATION.where(_open, invitations.c.invited_by == bindparam("of_user")).limit(_SOME))
_own = user_roles.alias("own")
_in_own = _own.c.user_id == bindparam("of_user")
_SHARED = Query(
    select(_own.c.organization_id)
    .where(
        _in_own,
        or_(
            exists().where(
                user_roles.c.organization_id == _own.c.organization_id, user_roles.c.user_id != _own.c.user_id
            ),
            exists().where(
                invitations.c.organization_id == _own.c.organization_id, invitations.c.accepted_at.is_(None)
            ),
        ),
    )
    .limit(1)
)

_ROWS = bindparam("rows", type_=Integer)
# Each half reads no more rows than the page has.
_ACTIVE_PAGE = (
    _MEMBERS.where(_in_organization, users.c.id < bindparam("before")).order_by(users.c.id.desc()).limit(_ROWS)
)
_INVITED_PAGE = (
    select(
        invitations.c.id, invitations.c.email, literal("", Text).label("name"), invitations.c.role_code.label("role"),
        literal(State.INVITED.value, Text).label("state"), invitations.c.created_at, invitations.c.expires_at,
    )
    .where(_open, invitations.c.id < bindparam("before"))
    .order_by(invitations.c.id.desc())
    .limit(_ROWS)
)  # fmt: skip
_both = union_all(select(_ACTIVE_PAGE.subquery()), select(_INVITED_PAGE.subquery())).subquery()
_PAGE = Query(select(_both).order_by(_both.c.id.desc()).limit(_ROWS))


def lock(tx: Transaction, organization_id: UUID) -> Tenant | None:
    """The organization; nobody else changes its members, invitations, roles or keys until the transaction ends."""
    row = tx.one(_LOCK, id=organization_id)
    return Tenant(Organization(row.id, row.name, row.kind), row.owner_id) if row else None


def lock_person(tx: Transaction, user_id: UUID) -> None:
    """Nobody else makes an organization for the person until the transaction ends."""
    tx.one(_LOCK_PERSON, id=user_id)


def count_owned(db: Session, user_id: UUID) -> int:
    """How many organizations the person owns."""
    return _count(db.one(_OWNED, owner_id=user_id))


def rename(tx: Transaction, organization_id: UUID, name: str, at: datetime) -> None:
    """Gives the organization another name."""
    tx.execute(_RENAME, of_id=organization_id, new_name=name, at=at)


def set_owner(tx: Transaction, organization_id: UUID, user_id: UUID, at: datetime) -> None:
    """Makes the person the organization's owner."""
    tx.execute(_SET_OWNER, of_id=organization_id, new_owner=user_id, at=at)


def list_page(db: Session, organization_id: UUID, page: Page) -> Sequence[Member]:
    """Members and open invitations, newest first."""
    return [_member(row) for row in db.all(_PAGE, of_organization=organization_id, before=page.before, rows=page.limit)]


def member(db: Session, organization_id: UUID, user_id: UUID) -> Member | None:
    """The member with this id."""
    row = db.one(_MEMBER, of_organization=organization_id, of_user=user_id)
    return _member(row) if row else None


def member_by_email(db: Session, organization_id: UUID, email: str) -> Member | None:
    """The member with this e-mail."""
    row = db.one(_MEMBER_BY_EMAIL, of_organization=organization_id, email=email)
    return _member(row) if row else None


def add_member(tx: Transaction, organization_id: UUID, user_id: UUID, role: str, at: datetime) -> None:
    """Makes the person a member."""
    tx.execute(_ADD_MEMBER, user_id=user_id, organization_id=organization_id, role=role, at=at)


def set_role(tx: Transaction, organization_id: UUID, user_id: UUID, role: str) -> None:
    """Gives the member another role."""
    tx.execute(_SET_ROLE, of_organization=organization_id, of_user=user_id, new_role=role)


def remove_member(tx: Transaction, organization_id: UUID, user_id: UUID) -> None:
    """Ends the membership."""
    tx.execute(_REMOVE_MEMBER, of_organization=organization_id, of_user=user_id)


def other_owner(db: Session, organization_id: UUID, role: str, user_id: UUID) -> UUID | None:
    """Who, but this person, has had the owners' role the longest."""
    row = db.one(_OTHER_OWNER, of_organization=organization_id, role=role, of_user=user_id)
    return row.user_id if row else None


def organization_of(db: Session, invitation_id: UUID) -> UUID | None:
    """Whose open invitation it is; asked with an id that a link vouches for."""
    row = db.one(_ORGANIZATION_OF, id=invitation_id)
    return row.organization_id if row else None


def open_invitation(db: Session, organization_id: UUID, invitation_id: UUID) -> Invitation | None:
    """The open invitation with this id."""
    row = db.one(_OPEN_INVITATION, of_organization=organization_id, of_id=invitation_id)
    return Invitation(**row._asdict()) if row else None


def open_invitation_by_email(db: Session, organization_id: UUID, email: str) -> Invitation | None:
    """The open invitation of this e-mail."""
    row = db.one(_OPEN_INVITATION_BY_EMAIL, of_organization=organization_id, email=email)
    return Invitation(**row._asdict()) if row else None


def count_open_invitations(db: Session, organization_id: UUID) -> int:
    """How many invitations are open, expired ones among them."""
    return _count(db.one(_COUNT_OPEN, of_organization=organization_id))


def add_invitation(tx: Transaction, invitation: Invitation) -> None:
    """Stores a new invitation."""
    tx.execute(_ADD_INVITATION, **asdict(invitation))


def change_invitation(tx: Transaction, invitation: Invitation) -> None:
    """Stores an open invitation's new role, who answers for it, and until when it can be accepted."""
    tx.execute(
        _CHANGE_INVITATION,
        of_organization=invitation.organization_id,
        of_id=invitation.id,
        new_role=invitation.role,
        by=invitation.invited_by,
        until=invitation.expires_at,
    )


def accept_invitation(tx: Transaction, invitation: Invitation, at: datetime) -> None:
    """Marks the invitation accepted."""
    tx.execute(_ACCEPT_INVITATION, of_organization=invitation.organization_id, of_id=invitation.id, at=at)


def remove_invitation(tx: Transaction, invitation: Invitation) -> None:
    """Withdraws the invitation."""
    tx.execute(_REMOVE_INVITATION, of_organization=invitation.organization_id, of_id=invitation.id)


def organization_ids_any_tenant(db: Session, user_id: UUID, after: UUID) -> Sequence[UUID]:
    """Some organizations that the person is a member of, in the order of their ids after that one."""
    return [row.organization_id for row in db.all(_ORGANIZATIONS_OF, of_user=user_id, after=after)]


def is_shared_any_tenant(db: Session, user_id: UUID) -> bool:
    """Whether an organization of the person has another member or an open invitation."""
    return db.one(_SHARED, of_user=user_id) is not None


def has_joined(db: Session, organization_id: UUID, email: str) -> bool:
    """Whether somebody with this e-mail accepted an invitation there, which was mailed to them."""
    return db.one(_HAS_JOINED, of_organization=organization_id, email=email) is not None


def others(db: Session, organization_id: UUID, user_id: UUID) -> Sequence[Member]:
    """Some members, but not this one."""
    return [_member(row) for row in db.all(_OTHERS, of_organization=organization_id, of_user=user_id)]


def invited_members(db: Session, tenant: Tenant, user_id: UUID) -> Sequence[Member]:
    """Some members whom this person invited, but not the owner."""
    rows = db.all(_INVITED_BY, of_organization=tenant.id, of_user=user_id, owner_id=tenant.owner_id)
    return [_member(row) for row in rows]


def open_invitations(db: Session, organization_id: UUID) -> Sequence[Invitation]:
    """Some open invitations."""
    return [Invitation(**row._asdict()) for row in db.all(_OPEN_INVITATIONS, of_organization=organization_id)]


def open_invitations_by(db: Session, organization_id: UUID, user_id: UUID) -> Sequence[Invitation]:
    """Some open invitations that this person answers for."""
    rows = db.all(_OPEN_INVITATIONS_BY, of_organization=organization_id, of_user=user_id)
    return [Invitation(**row._asdict()) for row in rows]


def _count(row: Any | None) -> int:
    return int(row.n) if row else 0


def _member(row: Any) -> Member:
    return Member(**{**row._asdict(), "state": State(row.state)})
