"""Reads the memberships and invitations that an account has granted to others."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import bindparam, exists, or_, select

from adlib.db import Query, Session
from auth_service.invitations.model import Invitation
from auth_service.invitations.store import INVITATIONS, to_invitation
from auth_service.tables import invitations, user_roles, users
from auth_service.tenancy.model import Member, Tenant
from auth_service.tenancy.store import MEMBERS, to_member

# The caller removes the returned rows and calls again until none are left.
_BATCH = 500

_in_organization = user_roles.c.organization_id == bindparam("of_organization")
_is_open = (invitations.c.organization_id == bindparam("of_organization")) & invitations.c.accepted_at.is_(None)
_is_accepted = (invitations.c.organization_id == bindparam("of_organization")) & invitations.c.accepted_at.is_not(None)
_HAS_ACCEPTED = Query(select(invitations.c.id).where(_is_accepted, invitations.c.email == bindparam("email")).limit(1))
_OTHER_MEMBERS = Query(MEMBERS.where(_in_organization, user_roles.c.user_id != bindparam("of_user")).limit(_BATCH))
_invited_emails = (
    select(invitations.c.email).where(_is_accepted, invitations.c.invited_by == bindparam("of_user")).scalar_subquery()
)
_MEMBERS_INVITED_BY = Query(
    MEMBERS.where(
        _in_organization,
        users.c.email.in_(_invited_emails),
        user_roles.c.user_id.not_in([bindparam("of_user"), bindparam("owner_id")]),
    ).limit(_BATCH)
)
_OPEN_INVITATIONS = Query(INVITATIONS.where(_is_open).limit(_BATCH))
_OPEN_INVITATIONS_BY = Query(
    INVITATIONS.where(_is_open, invitations.c.invited_by == bindparam("of_user")).limit(_BATCH)
)
_own = user_roles.alias("own")
_SHARED = Query(
    select(_own.c.organization_id)
    .where(
        _own.c.user_id == bindparam("of_user"),
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


def shares_organization_any_tenant(db: Session, user_id: UUID) -> bool:
    """Whether an organization of the user has another member or an open invitation."""
    return db.one(_SHARED, of_user=user_id) is not None


def has_accepted_invitation(db: Session, organization_id: UUID, email: str) -> bool:
    """Whether the user with this e-mail address joined by an invitation, which was mailed there."""
    return db.one(_HAS_ACCEPTED, of_organization=organization_id, email=email) is not None


def other_members(db: Session, organization_id: UUID, user_id: UUID) -> Sequence[Member]:
    """A batch of the members other than this user."""
    return [to_member(row) for row in db.all(_OTHER_MEMBERS, of_organization=organization_id, of_user=user_id)]


def members_invited_by(db: Session, tenant: Tenant, user_id: UUID) -> Sequence[Member]:
    """A batch of the members whom this user invited, without the owner."""
    rows = db.all(_MEMBERS_INVITED_BY, of_organization=tenant.id, of_user=user_id, owner_id=tenant.owner_id)
    return [to_member(row) for row in rows]


def open_invitations(db: Session, organization_id: UUID) -> Sequence[Invitation]:
    """A batch of the open invitations."""
    return [to_invitation(row) for row in db.all(_OPEN_INVITATIONS, of_organization=organization_id)]


def open_invitations_by(db: Session, organization_id: UUID, user_id: UUID) -> Sequence[Invitation]:
    """A batch of the open invitations that this user is responsible for."""
    rows = db.all(_OPEN_INVITATIONS_BY, of_organization=organization_id, of_user=user_id)
    return [to_invitation(row) for row in rows]
