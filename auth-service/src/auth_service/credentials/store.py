"""Password hashes in the database."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from adlib.db import Query, Session, Transaction
from auth_service.tables import credentials, users
from auth_service.users.model import User

_new = upsert(credentials).values(
    user_id=bindparam("user_id"), password_hash=bindparam("password_hash"), updated_at=bindparam("at")
)
_SET = Query(
    _new.on_conflict_do_update(
        index_elements=[credentials.c.user_id],
        set_={"password_hash": _new.excluded.password_hash, "updated_at": _new.excluded.updated_at},
    )
)
_BY_EMAIL = Query(
    select(users.c.id, users.c.email, users.c.name, users.c.email_verified_at, credentials.c.password_hash)
    .select_from(users.outerjoin(credentials, credentials.c.user_id == users.c.id))
    .where(users.c.email == bindparam("email"))
)
_of_user = credentials.c.user_id == bindparam("of_user")
_LOCK = Query(select(credentials.c.password_hash).where(_of_user).with_for_update())
_REMOVE = Query(delete(credentials).where(_of_user))
_REHASH = Query(
    update(credentials)
    .where(_of_user, credentials.c.password_hash == bindparam("old"))
    .values(password_hash=bindparam("hash"), updated_at=bindparam("at"))
)


def by_email(db: Session, email: str) -> tuple[User, str | None] | None:
    """The user with this e-mail address and the hash of their password, if they have one."""
    row = db.one(_BY_EMAIL, email=email)
    return (User(row.id, row.email, row.name, row.email_verified_at is not None), row.password_hash) if row else None


def set_password(tx: Transaction, user_id: UUID, password_hash: str, at: datetime) -> None:
    """Stores the hash of the user's first or new password."""
    tx.execute(_SET, user_id=user_id, password_hash=password_hash, at=at)


def lock_password(tx: Transaction, user_id: UUID) -> str | None:
    """The hash of the user's password, locked until the transaction ends."""
    row = tx.one(_LOCK, of_user=user_id)
    return row.password_hash if row else None


def remove_password(tx: Transaction, user_id: UUID) -> None:
    """Deletes the user's password."""
    tx.execute(_REMOVE, of_user=user_id)


def rehash(tx: Transaction, user_id: UUID, old: str, new: str, at: datetime) -> None:
    """Replaces the hash of the same password; does nothing if the password has changed meanwhile."""
    tx.execute(_REHASH, of_user=user_id, old=old, hash=new, at=at)
