"""Received events, with their unmodified bodies, in the database."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ARRAY, Text, any_, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Session, Transaction
from payment_service.quarantine import store as quarantine
from payment_service.quarantine.model import Kind
from payment_service.tables import webhook_cursors, webhook_events

_ADD = Query(
    insert(webhook_events)
    .values(
        provider=bindparam("provider"), event_id=bindparam("event_id"), kind=bindparam("kind"),
        payload=bindparam("payload"), received_at=bindparam("at"),
    )
    .on_conflict_do_nothing()
)  # fmt: skip
_KNOWN = Query(
    select(webhook_events.c.event_id).where(
        webhook_events.c.provider == bindparam("of_provider"),
        webhook_events.c.event_id == any_(bindparam("events", type_=ARRAY(Text))),
    )
)
_IS_EVENT = (
    webhook_events.c.provider == bindparam("of_provider"),
    webhook_events.c.event_id == bindparam("event"),
    webhook_events.c.booked_at.is_(None),
)
_MARK_BOOKED = Query(update(webhook_events).where(*_IS_EVENT).values(booked_at=bindparam("at")))
_RECORD_ATTEMPT = Query(
    update(webhook_events).where(*_IS_EVENT).values(tried_at=bindparam("at")).returning(webhook_events.c.payload)
)
_LOCK_UNBOOKED = Query(select(webhook_events.c.event_id).where(*_IS_EVENT).with_for_update())
_UNBOOKED = Query(
    select(webhook_events.c.provider, webhook_events.c.event_id)
    .where(
        webhook_events.c.booked_at.is_(None),
        webhook_events.c.provider == any_(bindparam("providers", type_=ARRAY(Text))),
        quarantine.is_free(Kind.EVENT, webhook_events.c.event_id, webhook_events.c.provider),
    )
    .order_by(webhook_events.c.tried_at.asc().nulls_first())
    .limit(bindparam("most"))
)
_CURSOR = Query(select(webhook_cursors.c.read_until).where(webhook_cursors.c.provider == bindparam("of_provider")))
_new = insert(webhook_cursors).values(provider=bindparam("of_provider"), read_until=bindparam("until"))
_ADVANCE_CURSOR = Query(
    _new.on_conflict_do_update(
        index_elements=[webhook_cursors.c.provider],
        set_={"read_until": func.greatest(webhook_cursors.c.read_until, _new.excluded.read_until)},
    )
)


def add(tx: Transaction, provider: str, event_id: str, kind: str, payload: bytes, at: datetime) -> bool:
    """Stores the event; False if it is stored already. A concurrent transaction waits for the first to end."""
    return tx.execute(_ADD, provider=provider, event_id=event_id, kind=kind, payload=payload, at=at) == 1


def known(db: Session, provider: str, event_ids: Collection[str]) -> Collection[str]:
    """The ids of those events that are stored."""
    return {row.event_id for row in db.all(_KNOWN, of_provider=provider, events=list(event_ids))}


def mark_booked(tx: Transaction, provider: str, event_id: str, at: datetime) -> None:
    """Marks the event as booked."""
    tx.execute(_MARK_BOOKED, of_provider=provider, event=event_id, at=at)


def unbooked(db: Session, providers: Collection[str], limit: int) -> Sequence[tuple[str, str]]:
    """Provider and id of events that are not booked, least recently tried first."""
    return [(row.provider, row.event_id) for row in db.all(_UNBOOKED, providers=list(providers), most=limit)]


def record_attempt(tx: Transaction, provider: str, event_id: str, at: datetime) -> bytes | None:
    """Stores the time of an attempt to book; the event's body, or None if it is booked."""
    row = tx.one(_RECORD_ATTEMPT, of_provider=provider, event=event_id, at=at)
    return bytes(row.payload) if row else None


def lock_unbooked(tx: Transaction, provider: str, event_id: str) -> bool:
    """Locks the event; False if it is booked."""
    return tx.one(_LOCK_UNBOOKED, of_provider=provider, event=event_id) is not None


def cursor(db: Session, provider: str) -> datetime | None:
    """The time up to which missed events were listed; None if they were never listed."""
    row = db.one(_CURSOR, of_provider=provider)
    return row.read_until if row else None


def advance_cursor(tx: Transaction, provider: str, until: datetime) -> None:
    """Moves the cursor forward; it never moves back."""
    tx.execute(_ADVANCE_CURSOR, of_provider=provider, until=until)
