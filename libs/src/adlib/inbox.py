"""The inbox makes a consumer idempotent: the transaction that handles an event also records its id."""

import hashlib
from uuid import UUID

from sqlalchemy import Column, DateTime, LargeBinary, MetaData, Table, Text, Uuid, bindparam, select
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Transaction
from adlib.retention import Retention

# Longer than the bus stores messages, because an event that is delivered later would be handled again.
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
    """The id was used before by an event with other content; this event becomes a dead letter."""

    def __init__(self, consumer: str, event_id: UUID) -> None:
        super().__init__(f"{consumer} has handled event {event_id} before with other content")


def claim_event(tx: Transaction, consumer: str, event_id: UUID, content: str) -> bool:
    """Records the event for this consumer; returns False if it was handled before. Raises EventReused.

    A concurrent transaction with the same event waits for this one. `content` is the part of the event that the
    consumer uses, in a format that stays the same in later releases.
    """
    hash = hashlib.sha256(content.encode()).digest()
    if tx.execute(_CLAIM, consumer=consumer, event_id=event_id, hash=hash) == 1:
        return True
    first = tx.one(_FIRST, of_consumer=consumer, of_event=event_id)
    # NULL for events that were handled before hashes were stored.
    if first is not None and first.content_hash is not None and bytes(first.content_hash) != hash:
        raise EventReused(consumer, event_id)
    return False
