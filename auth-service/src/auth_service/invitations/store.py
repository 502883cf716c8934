"""Invitations in the database."""

from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, delete, func, insert, select, update

from adlib.db import Query, Session, Transaction
from auth_service.invitations.model import Invitation
from auth_service.tables import invitations, user_roles, users

_is_open = (invitations.c.organization_id == bindparam("of_organization")) & invitations.c.accepted_at.is_(None)
# Select of `Invitation`s, for other stores to filter.
INVITATIONS = select(
    invitations.c.id, invitations.c.organization_id, invitations.c.email, invitations.c.role_code.label("role"),
    invitations.c.invited_by, invitations.c.created_at, invitations.c.expires_at,
)  # fmt: skip
_is_this = _is_open & (invitations.c.id == bindparam("of_id"))
_ORGANIZATION_OF = Query(
    select(invitations.c.organization_id).where(
        invitations.c.id == bindparam("id"), invitations.c.accepted_at.is_(None)
    )
)
_FIND_OPEN = Query(INVITATIONS.where(_is_this))
_FIND_OPEN_BY_EMAIL = Query(INVITATIONS.where(_is_open, invitations.c.email == bindparam("email")))
_COUNT_OPEN = Query(select(func.count().label("n")).where(_is_open))
_IS_MEMBER = Query(
    select(users.c.id)
    .select_from(user_roles.join(users, users.c.id == user_roles.c.user_id))
    .where(user_roles.c.organization_id == bindparam("of_organization"), users.c.email == bindparam("email"))
)
_ADD = Query(
    insert(invitations).values(
        id=bindparam("id"), organization_id=bindparam("organization_id"), email=bindparam("email"),
        role_code=bindparam("role"), invited_by=bindparam("invited_by"), created_at=bindparam("created_at"),
        expires_at=bindparam("expires_at"),
    )
)  # fmt: skip
_UPDATE = Query(
    update(invitations)
    .where(_is_this)
    .values(role_code=bindparam("new_role"), invited_by=bindparam("by"), expires_at=bindparam("until"))
)
_MARK_ACCEPTED = Query(update(invitations).where(_is_this).values(accepted_at=bindparam("at")))
_REMOVE = Query(delete(invitations).where(_is_this))


def organization_of_any_tenant(db: Session, invitation_id: UUID) -> UUID | None:
    """The organization of an open invitation whose id was read from a signed link."""
    row = db.one(_ORGANIZATION_OF, id=invitation_id)
    return row.organization_id if row else None


def find_open(db: Session, organization_id: UUID, invitation_id: UUID) -> Invitation | None:
    """The open invitation with this id."""
    row = db.one(_FIND_OPEN, of_organization=organization_id, of_id=invitation_id)
    return to_invitation(row) if row else None


def find_open_by_email(db: Session, organization_id: UUID, email: str) -> Invitation | None:
    """The open invitation to this e-mail address."""
    row = db.one(_FIND_OPEN_BY_EMAIL, of_organization=organization_id, email=email)
    return to_invitation(row) if row else None


def count_open(db: Session, organization_id: UUID) -> int:
    """The number of open invitations, including expired ones."""
    row = db.one(_COUNT_OPEN, of_organization=organization_id)
    return int(row.n) if row else 0


def is_member(db: Session, organization_id: UUID, email: str) -> bool:
    """Whether a member of the organization has this e-mail address."""
    return db.one(_IS_MEMBER, of_organization=organization_id, email=email) is not None


def add(tx: Transaction, invitation: Invitation) -> None:
    """Stores a new invitation."""
    tx.execute(_ADD, **asdict(invitation))


def update_open(tx: Transaction, invitation: Invitation) -> None:
    """Stores an open invitation's new role, responsible member and expiry."""
    tx.execute(
        _UPDATE,
        of_organization=invitation.organization_id,
        of_id=invitation.id,
        new_role=invitation.role,
        by=invitation.invited_by,
        until=invitation.expires_at,
    )


def mark_accepted(tx: Transaction, invitation: Invitation, at: datetime) -> None:
    """Marks the invitation as accepted."""
    tx.execute(_MARK_ACCEPTED, of_organization=invitation.organization_id, of_id=invitation.id, at=at)


def remove(tx: Transaction, invitation: Invitation) -> None:
    """Deletes the open invitation."""
    tx.execute(_REMOVE, of_organization=invitation.organization_id, of_id=invitation.id)


def to_invitation(row: Any) -> Invitation:
    """The invitation in a row of `INVITATIONS`."""
    return Invitation(**row._asdict())
