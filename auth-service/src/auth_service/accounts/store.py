"""People, organizations and memberships in the database."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, func, insert, select, update

from adlib.db import Query, Session, Transaction, UniqueViolated
from auth_service.accounts.model import EmailTaken, Membership, Organization, User
from auth_service.tables import credentials, organizations, role_permissions, user_roles, users

_ADD_USER = Query(
    insert(users).values(
        id=bindparam("id"), email=bindparam("email"), name=bindparam("name"),
        created_at=bindparam("at"), updated_at=bindparam("at"),
    )
)  # fmt: skip
_ADD_CREDENTIALS = Query(
    insert(credentials).values(
        user_id=bindparam("user_id"), password_hash=bindparam("password_hash"), updated_at=bindparam("at")
    )
)  # fmt: skip
_ADD_ORGANIZATION = Query(
    insert(organizations).values(
        id=bindparam("id"), name=bindparam("name"), kind=bindparam("kind"), owner_id=bindparam("owner_id"),
        created_at=bindparam("at"), updated_at=bindparam("at"),
    )
)  # fmt: skip
_ADD_MEMBERSHIP = Query(
    insert(user_roles).values(
        user_id=bindparam("user_id"), organization_id=bindparam("organization_id"),
        role_code=bindparam("role"), created_at=bindparam("at"),
    )
)  # fmt: skip
_BY_EMAIL = Query(
    select(users.c.id, users.c.email, users.c.name, credentials.c.password_hash)
    .select_from(users.outerjoin(credentials, credentials.c.user_id == users.c.id))
    .where(users.c.email == bindparam("email"))
)
_BY_ID = Query(select(users.c.id, users.c.email, users.c.name).where(users.c.id == bindparam("id")))
_REHASH = Query(
    update(credentials)
    .where(credentials.c.user_id == bindparam("of_user"))
    .values(password_hash=bindparam("hash"), updated_at=bindparam("at"))
)
_PLATFORM = Query(select(organizations.c.id).where(organizations.c.kind == "PLATFORM"))
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
    .limit(200)
)  # fmt: skip


def add_user(tx: Transaction, user: User, password_hash: str, at: datetime) -> None:
    """Stores a new person; EMAIL_TAKEN."""
    try:
        with tx.savepoint():
            tx.execute(_ADD_USER, id=user.id, email=user.email, name=user.name, at=at)
    except UniqueViolated as error:
        raise EmailTaken from error
    tx.execute(_ADD_CREDENTIALS, user_id=user.id, password_hash=password_hash, at=at)


def add_organization(tx: Transaction, organization: Organization, owner_id: UUID, role: str, at: datetime) -> None:
    """Stores a new organization, with its owner in it."""
    tx.execute(
        _ADD_ORGANIZATION, id=organization.id, name=organization.name, kind=organization.kind, owner_id=owner_id, at=at
    )
    tx.execute(_ADD_MEMBERSHIP, user_id=owner_id, organization_id=organization.id, role=role, at=at)


def by_email(db: Session, email: str) -> tuple[User, str | None] | None:
    """The person with this e-mail, and their password's hash."""
    row = db.one(_BY_EMAIL, email=email)
    return (User(row.id, row.email, row.name), row.password_hash) if row else None


def by_id(db: Session, user_id: UUID) -> User | None:
    """The person with this id."""
    row = db.one(_BY_ID, id=user_id)
    return User(row.id, row.email, row.name) if row else None


def rehash(tx: Transaction, user_id: UUID, password_hash: str, at: datetime) -> None:
    """Replaces the hash of the same password."""
    tx.execute(_REHASH, of_user=user_id, hash=password_hash, at=at)


def platform_exists(db: Session) -> bool:
    """Whether the platform's own organization is there."""
    return db.one(_PLATFORM) is not None


def memberships(db: Session, user_id: UUID) -> Sequence[Membership]:
    """The person's organizations, oldest first."""
    return [
        Membership(Organization(row.id, row.name, row.kind), row.role_code, sorted(row.codes or ()))
        for row in db.all(_MEMBERSHIPS, user_id=user_id)
    ]
