"""Cache invalidations that Redis has yet to receive, in the database."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import any_, bindparam, delete, insert, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Uuid

from adlib.access import CacheInvalidation
from adlib.db import Query, Session, Transaction
from auth_service.tables import pending_marks

_ADD = Query(insert(pending_marks).values(id=bindparam("id"), key=bindparam("key"), lasts_s=bindparam("lasts_s")))
_PENDING = Query(select(pending_marks).order_by(pending_marks.c.id).limit(bindparam("limit")))
_REMOVE = Query(delete(pending_marks).where(pending_marks.c.id == any_(bindparam("ids", type_=ARRAY(Uuid)))))


def add(tx: Transaction, invalidation_id: UUID, invalidation: CacheInvalidation) -> None:
    """Stores an invalidation."""
    tx.execute(_ADD, id=invalidation_id, key=invalidation.key, lasts_s=invalidation.ttl_s)


def pending(db: Session, limit: int) -> Mapping[UUID, CacheInvalidation]:
    """The oldest invalidations that Redis has yet to receive."""
    return {row.id: CacheInvalidation(row.key, row.lasts_s) for row in db.all(_PENDING, limit=limit)}


def remove(tx: Transaction, invalidation_ids: Sequence[UUID]) -> None:
    """Deletes invalidations that Redis has received."""
    tx.execute(_REMOVE, ids=invalidation_ids)
