"""Webhooks in the database, as they came."""

from datetime import datetime

from sqlalchemy import bindparam
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Transaction
from payment_service.tables import webhook_events

_ADD = Query(
    insert(webhook_events)
    .values(
        provider=bindparam("provider"), event_id=bindparam("event_id"), kind=bindparam("kind"),
        payload=bindparam("payload"), received_at=bindparam("at"),
    )
    .on_conflict_do_nothing()
)  # fmt: skip


def first_time(tx: Transaction, provider: str, event_id: str, kind: str, payload: bytes, at: datetime) -> bool:
    """Stores the event; False where it is stored already. A second transaction waits for the first to end."""
    return tx.execute(_ADD, provider=provider, event_id=event_id, kind=kind, payload=payload, at=at) == 1
