"""Makes a consumer idempotent: an event is worked on once, in the transaction that remembers it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, DateTime, MetaData, Table, Text, Uuid, bindparam, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Transaction

_table = Table(
    "inbox", MetaData(),
    Column("consumer", Text), Column("event_id", Uuid), Column("processed_at", DateTime(timezone=True)),
)  # fmt: skip
_CLAIM = Query(
    insert(_table).values(consumer=bindparam("consumer"), event_id=bindparam("event_id")).on_conflict_do_nothing()
)
_old = (
    select(_table.c.consumer, _table.c.event_id)
    .where(_table.c.processed_at < bindparam("before"))
    .order_by(_table.c.processed_at)
    .limit(bindparam("most"))
)
_PURGE = Query(delete(_table).where(tuple_(_table.c.consumer, _table.c.event_id).in_(_old)))


def first_time(tx: Transaction, consumer: str, event_id: UUID) -> bool:
    """True once for each event; a second transaction waits for the first to end."""
    return tx.execute(_CLAIM, consumer=consumer, event_id=event_id) == 1


def purge(tx: Transaction, before: datetime, limit: int) -> int:
    """Forgets events that were worked on before then, up to the limit; how many.

    One that is received again after that is worked on again: keep them for longer than the bus keeps messages.
    """
    return tx.execute(_PURGE, before=before, most=limit)
