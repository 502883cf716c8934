"""Names and owners of organizations in the database."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, func, select, update

from adlib.db import Query, Session, Transaction
from auth_service.tables import organizations, users

_LOCK_USER = Query(select(users.c.id).where(users.c.id == bindparam("id")).with_for_update(key_share=True))
_COUNT_OWNED = Query(select(func.count().label("n")).where(organizations.c.owner_id == bindparam("owner_id")))
_RENAME = Query(
    update(organizations)
    .where(organizations.c.id == bindparam("of_id"))
    .values(name=bindparam("new_name"), updated_at=bindparam("at"))
)


def lock_user(tx: Transaction, user_id: UUID) -> None:
    """Serializes the creation of organizations by the user until the transaction ends."""
    tx.one(_LOCK_USER, id=user_id)


def count_owned(db: Session, user_id: UUID) -> int:
    """The number of organizations that the user owns."""
    row = db.one(_COUNT_OWNED, owner_id=user_id)
    return int(row.n) if row else 0


def rename(tx: Transaction, organization_id: UUID, name: str, at: datetime) -> None:
    """Changes the organization's name."""
    tx.execute(_RENAME, of_id=organization_id, new_name=name, at=at)
