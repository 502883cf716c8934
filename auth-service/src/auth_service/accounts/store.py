"""People, organizations and memberships in the database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from adlib.db import Query, Session, Transaction, UniqueViolated
from auth_service.accounts.model import EmailTaken, Membership, Organization, User
from auth_service.roles.model import held
from auth_service.tables import credentials, organizations, role_permissions, user_roles, users

_ADD_USER = Query(
    insert(users).values(
        id=bindparam("id"), email=bindparam("email"), name=bindparam("name"),
        email_verified_at=bindparam("email_verified_at"), firebase_uid=bindparam("firebase_uid"),
        created_at=bindparam("at"), updated_at=bindparam("at"),
    )
)  # fmt: skip
_new_credentials = upsert(credentials).values(
    user_id=bindparam("user_id"), password_hash=bindparam("password_hash"), updated_at=bindparam("at")
)
_SET_PASSWORD = Query(
    _new_credentials.on_conflict_do_update(
        index_elements=[credentials.c.user_id],
        set_={
            "password_hash": _new_credentials.excluded.password_hash,
            "updated_at": _new_credentials.excluded.updated_at,
        },
    )
)
_LOCK_PASSWORD = Query(
    select(credentials.c.password_hash).where(credentials.c.user_id == bindparam("of_user")).with_for_update()
)
_REMOVE_PASSWORD = Query(delete(credentials).where(credentials.c.user_id == bindparam("of_user")))
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
_columns = (users.c.id, users.c.email, users.c.name, users.c.email_verified_at)
_BY_EMAIL = Query(
    select(*_columns, credentials.c.password_hash)
    .select_from(users.outerjoin(credentials, credentials.c.user_id == users.c.id))
    .where(users.c.email == bindparam("email"))
)
# Not FOR UPDATE, which would wait for everybody who adds a row that names the person.
_LOCK_BY_EMAIL = Query(select(*_columns).where(users.c.email == bindparam("email")).with_for_update(key_share=True))
_BY_ID = Query(select(*_columns).where(users.c.id == bindparam("id")))
_LOCK_BY_ID = Query(select(*_columns).where(users.c.id == bindparam("id")).with_for_update(key_share=True))
_LOCK_BY_FIREBASE_UID = Query(
    select(*_columns).where(users.c.firebase_uid == bindparam("uid")).with_for_update(key_share=True)
)
_of_user = users.c.id == bindparam("of_user")
_RENAME = Query(update(users).where(_of_user).values(name=bindparam("new_name"), updated_at=bindparam("at")))
_VERIFY_EMAIL = Query(
    update(users)
    .where(_of_user, users.c.email == bindparam("verified"), users.c.email_verified_at.is_(None))
    .values(email_verified_at=bindparam("at"), updated_at=bindparam("at"))
)
_CHANGE_EMAIL = Query(
    update(users)
    .where(_of_user)
    .values(email=bindparam("new_email"), email_verified_at=bindparam("at"), updated_at=bindparam("at"))
)
_LINK_FIREBASE = Query(update(users).where(_of_user).values(firebase_uid=bindparam("uid"), updated_at=bindparam("at")))
_REHASH = Query(
    update(credentials)
    .where(credentials.c.user_id == bindparam("of_user"), credentials.c.password_hash == bindparam("old"))
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


def add_user(
    tx: Transaction, user: User, password_hash: str | None, at: datetime, firebase_uid: str | None = None
) -> None:
    """Stores a new person, who signs in with this password or as this Firebase user; EMAIL_TAKEN."""
    verified_at = at if user.email_verified else None
    try:
        with tx.savepoint():
            tx.execute(
                _ADD_USER, id=user.id, email=user.email, name=user.name, email_verified_at=verified_at,
                firebase_uid=firebase_uid, at=at,
            )  # fmt: skip
    except UniqueViolated as error:
        raise EmailTaken from error
    if password_hash:
        set_password(tx, user.id, password_hash, at)


def add_organization(tx: Transaction, organization: Organization, owner_id: UUID, role: str, at: datetime) -> None:
    """Stores a new organization, with its owner in it."""
    tx.execute(
        _ADD_ORGANIZATION, id=organization.id, name=organization.name, kind=organization.kind, owner_id=owner_id, at=at
    )
    tx.execute(_ADD_MEMBERSHIP, user_id=owner_id, organization_id=organization.id, role=role, at=at)


def by_email(db: Session, email: str) -> tuple[User, str | None] | None:
    """The person with this e-mail, and their password's hash."""
    row = db.one(_BY_EMAIL, email=email)
    return (_user(row), row.password_hash) if row else None


def by_id(db: Session, user_id: UUID) -> User | None:
    """The person with this id."""
    row = db.one(_BY_ID, id=user_id)
    return _user(row) if row else None


def lock_by_firebase_uid(tx: Transaction, uid: str) -> User | None:
    """The person who signs in as this Firebase user, whom nobody else changes until the transaction ends."""
    row = tx.one(_LOCK_BY_FIREBASE_UID, uid=uid)
    return _user(row) if row else None


def lock(tx: Transaction, user_id: UUID) -> User | None:
    """The person with this id, whom nobody else changes until the transaction ends."""
    row = tx.one(_LOCK_BY_ID, id=user_id)
    return _user(row) if row else None


def lock_by_email(tx: Transaction, email: str) -> User | None:
    """The person with this e-mail, whom nobody else changes until the transaction ends."""
    row = tx.one(_LOCK_BY_EMAIL, email=email)
    return _user(row) if row else None


def rename(tx: Transaction, user_id: UUID, name: str, at: datetime) -> None:
    """Changes the person's name."""
    tx.execute(_RENAME, of_user=user_id, new_name=name, at=at)


def verify_email(tx: Transaction, user_id: UUID, email: str, at: datetime) -> None:
    """Notes that the e-mail is the person's; nothing where they have another one by now."""
    tx.execute(_VERIFY_EMAIL, of_user=user_id, verified=email, at=at)


def change_email(tx: Transaction, user_id: UUID, email: str, at: datetime) -> None:
    """Gives the person another e-mail, which is theirs for sure; EMAIL_TAKEN."""
    try:
        with tx.savepoint():
            tx.execute(_CHANGE_EMAIL, of_user=user_id, new_email=email, at=at)
    except UniqueViolated as error:
        raise EmailTaken from error


def link_firebase(tx: Transaction, user_id: UUID, uid: str | None, at: datetime) -> None:
    """Has the person sign in as this Firebase user, or as none any more."""
    tx.execute(_LINK_FIREBASE, of_user=user_id, uid=uid, at=at)


def set_password(tx: Transaction, user_id: UUID, password_hash: str, at: datetime) -> None:
    """Gives the person a password, their first or another one."""
    tx.execute(_SET_PASSWORD, user_id=user_id, password_hash=password_hash, at=at)


def lock_password(tx: Transaction, user_id: UUID) -> str | None:
    """The hash of the person's password, which nobody changes until the transaction ends."""
    row = tx.one(_LOCK_PASSWORD, of_user=user_id)
    return row.password_hash if row else None


def remove_password(tx: Transaction, user_id: UUID) -> None:
    """Leaves the person without a password."""
    tx.execute(_REMOVE_PASSWORD, of_user=user_id)


def rehash(tx: Transaction, user_id: UUID, old: str, new: str, at: datetime) -> None:
    """Replaces the hash of the same password; nothing where the password was changed meanwhile."""
    tx.execute(_REHASH, of_user=user_id, old=old, hash=new, at=at)


def platform_exists(db: Session) -> bool:
    """Whether the platform's own organization is there."""
    return db.one(_PLATFORM) is not None


def memberships(db: Session, user_id: UUID) -> Sequence[Membership]:
    """The person's organizations, oldest first."""
    return [
        Membership(Organization(row.id, row.name, row.kind), row.role_code, sorted(held(row.kind, row.codes or ())))
        for row in db.all(_MEMBERSHIPS, user_id=user_id)
    ]


def _user(row: Any) -> User:
    return User(row.id, row.email, row.name, row.email_verified_at is not None)
