"""Makes a consumer idempotent: an event is worked on once, in the transaction that remembers it."""

import hashlib
from uuid import UUID

from sqlalchemy import Column, DateTime, LargeBinary, MetaData, Table, Text, Uuid, bindparam, select
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Transaction
from adlib.retention import Retention

# One that is received again after that is worked on again: longer than the bus keeps messages.
RETENTION = Retention("inbox", "processed_at", days=30)

_table = Table(
    "inbox", MetaData(),
    Column("consumer", Text), Column("event_id", Uuid), Column("processed_at", DateTime(timezone=True)),
    Column("content_hash", LargeBinary),
)  # fmt: skip
_CLAIM = Query(
    insert(_table)
    .values(consumer=bindparam("consumer"), event_id=bindparam("event_id"), content_hash=bindparam("hash"))
    .on_conflict_do_nothing()
)
_FIRST = Query(
    select(_table.c.content_hash).where(
        _table.c.consumer == bindparam("of_consumer"), _table.c.event_id == bindparam("of_event")
    )
)


class EventReused(Exception):
    """Another event has this id; it is not worked on, and ends as a dead letter."""

    def __init__(self, consumer: str, event_id: UUID) -> None:
        super().__init__(f"event {event_id} was worked on before by {consumer} with another content")


def claim_event(tx: Transaction, consumer: str, event_id: UUID, content: str) -> bool:
    """True once for each event; a second transaction waits for the first to end. EventReused.

    `content` is what the consumer takes from the event, written so that later releases write it the same.
    """
    hash = hashlib.sha256(content.encode()).digest()
    if tx.execute(_CLAIM, consumer=consumer, event_id=event_id, hash=hash) == 1:
        return True
    first = tx.one(_FIRST, of_consumer=consumer, of_event=event_id)
    # NULL of those that were worked on before there were hashes.
    if first is not None and first.content_hash is not None and bytes(first.content_hash) != hash:
        raise EventReused(consumer, event_id)
    return False
