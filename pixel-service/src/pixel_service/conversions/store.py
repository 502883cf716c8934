"""Conversions in PostgreSQL."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Session, Transaction
from pixel_service.conversions.model import NewConversion
from pixel_service.tables import conversions

_ADD = Query(
    insert(conversions)
    .values({column.name: bindparam(column.name) for column in conversions.columns})
    .on_conflict_do_nothing()
)
_FIRST = Query(
    select(conversions.c.event_id).where(
        conversions.c.organization_id == bindparam("organization_id"),
        conversions.c.click_id.is_not_distinct_from(bindparam("click_id")),
        conversions.c.goal == bindparam("goal"),
        conversions.c.transaction_id.is_not_distinct_from(bindparam("transaction_id")),
    )
)


def add(tx: Transaction, event_id: UUID, new: NewConversion, at: datetime) -> bool:
    """Stores the conversion unless it is a duplicate; returns whether it did. Waits for a concurrent duplicate."""
    return tx.execute(
        _ADD, event_id=event_id, pixel_id=new.pixel.id, value_micros=new.value_micros,
        currency_code=new.pixel.currency_code, created_at=at, **_key(new),
    ) == 1  # fmt: skip


def first_event_id(db: Session, new: NewConversion) -> UUID:
    """The event of the conversion that this one duplicates."""
    row = db.one(_FIRST, **_key(new))
    if row is None:
        raise LookupError("the conflicting conversion does not exist")
    event_id: UUID = row.event_id
    return event_id


def _key(new: NewConversion) -> dict[str, object]:
    return {
        "organization_id": new.pixel.organization_id,
        "click_id": new.click.event_id if new.click else None,
        "goal": new.goal,
        "transaction_id": new.transaction_id or None,
    }
