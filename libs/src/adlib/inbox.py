"""Makes a consumer idempotent: an event is worked on once, in the transaction that remembers it."""

from uuid import UUID

from sqlalchemy import Column, MetaData, Table, Text, Uuid, bindparam
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Transaction

_table = Table("inbox", MetaData(), Column("consumer", Text), Column("event_id", Uuid))
_CLAIM = Query(
    insert(_table).values(consumer=bindparam("consumer"), event_id=bindparam("event_id")).on_conflict_do_nothing()
)


def first_time(tx: Transaction, consumer: str, event_id: UUID) -> bool:
    """True once for each event; a second transaction waits for the first to end."""
    return tx.execute(_CLAIM, consumer=consumer, event_id=event_id) == 1
