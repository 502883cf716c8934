"""Users in the database."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, insert, select, update

from adlib.db import Query, Session, Transaction, UniqueViolated
from auth_service.tables import users
from auth_service.users.model import EmailTaken, User

_ADD = Query(
    insert(users).values(
        id=bindparam("id"), email=bindparam("email"), name=bindparam("name"),
        email_verified_at=bindparam("email_verified_at"), firebase_uid=bindparam("firebase_uid"),
        created_at=bindparam("at"), updated_at=bindparam("at"),
    )
)  # fmt: skip
_USER = select(users.c.id, users.c.email, users.c.name, users.c.email_verified_at)
_BY_ID = Query(_USER.where(users.c.id == bindparam("id")))
_BY_EMAIL = Query(_USER.where(users.c.email == bindparam("email")))
# With key_share: FOR UPDATE would wait for every transaction that adds a row which references the user.
_LOCK_BY_ID = Query(_USER.where(users.c.id == bindparam("id")).with_for_update(key_share=True))
_LOCK_BY_EMAIL = Query(_USER.where(users.c.email == bindparam("email")).with_for_update(key_share=True))
_LOCK_BY_FIREBASE_UID = Query(_USER.where(users.c.firebase_uid == bindparam("uid")).with_for_update(key_share=True))
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


def add(tx: Transaction, user: User, at: datetime, firebase_uid: str | None = None) -> None:
    """Stores a new user, linked to the Firebase user if one is given; EMAIL_TAKEN."""
    verified_at = at if user.email_verified else None
    try:
        with tx.savepoint():
            tx.execute(
                _ADD, id=user.id, email=user.email, name=user.name, email_verified_at=verified_at,
                firebase_uid=firebase_uid, at=at,
            )  # fmt: skip
    except UniqueViolated as error:
        raise EmailTaken from error


def by_id(db: Session, user_id: UUID) -> User | None:
    """The user with this id."""
    return _user(db.one(_BY_ID, id=user_id))


def by_email(db: Session, email: str) -> User | None:
    """The user with this e-mail address."""
    return _user(db.one(_BY_EMAIL, email=email))


def lock(tx: Transaction, user_id: UUID) -> User | None:
    """The user with this id, locked until the transaction ends."""
    return _user(tx.one(_LOCK_BY_ID, id=user_id))


def lock_by_email(tx: Transaction, email: str) -> User | None:
    """The user with this e-mail address, locked until the transaction ends."""
    return _user(tx.one(_LOCK_BY_EMAIL, email=email))


def lock_by_firebase_uid(tx: Transaction, uid: str) -> User | None:
    """The user that is linked to this Firebase user, locked until the transaction ends."""
    return _user(tx.one(_LOCK_BY_FIREBASE_UID, uid=uid))


def rename(tx: Transaction, user_id: UUID, name: str, at: datetime) -> None:
    """Changes the user's name."""
    tx.execute(_RENAME, of_user=user_id, new_name=name, at=at)


def verify_email(tx: Transaction, user_id: UUID, email: str, at: datetime) -> None:
    """Marks the e-mail address as verified; does nothing if the user has changed it."""
    tx.execute(_VERIFY_EMAIL, of_user=user_id, verified=email, at=at)


def change_email(tx: Transaction, user_id: UUID, email: str, at: datetime) -> None:
    """Replaces the user's e-mail address by a verified one; EMAIL_TAKEN."""
    try:
        with tx.savepoint():
            tx.execute(_CHANGE_EMAIL, of_user=user_id, new_email=email, at=at)
    except UniqueViolated as error:
        raise EmailTaken from error


def link_firebase(tx: Transaction, user_id: UUID, uid: str, at: datetime) -> None:
    """Links the Firebase user, who can then sign in as this user."""
    tx.execute(_LINK_FIREBASE, of_user=user_id, uid=uid, at=at)


def unlink_firebase(tx: Transaction, user_id: UUID, at: datetime) -> None:
    """Unlinks the Firebase user, who can then no longer sign in as this user."""
    tx.execute(_LINK_FIREBASE, of_user=user_id, uid=None, at=at)


def _user(row: Any | None) -> User | None:
    return User(row.id, row.email, row.name, row.email_verified_at is not None) if row else None
