"""Webhooks in the database, as they came."""

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
_THIS = (
    webhook_events.c.provider == bindparam("of_provider"),
    webhook_events.c.event_id == bindparam("event"),
    webhook_events.c.booked_at.is_(None),
)
_BOOKED = Query(update(webhook_events).where(*_THIS).values(booked_at=bindparam("at")))
_TRIED = Query(
    update(webhook_events).where(*_THIS).values(tried_at=bindparam("at")).returning(webhook_events.c.payload)
)
_LOCK_UNBOOKED = Query(select(webhook_events.c.event_id).where(*_THIS).with_for_update())
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
_REACHED = Query(
    _new.on_conflict_do_update(
        index_elements=[webhook_cursors.c.provider],
        set_={"read_until": func.greatest(webhook_cursors.c.read_until, _new.excluded.read_until)},
    )
)


def first_time(tx: Transaction, provider: str, event_id: str, kind: str, payload: bytes, at: datetime) -> bool:
    """Stores the event; False where it is stored already. A second transaction waits for the first to end."""
    return tx.execute(_ADD, provider=provider, event_id=event_id, kind=kind, payload=payload, at=at) == 1


def known(db: Session, provider: str, event_ids: Collection[str]) -> Collection[str]:
    """Those of the events that are stored."""
    return {row.event_id for row in db.all(_KNOWN, of_provider=provider, events=list(event_ids))}


def booked(tx: Transaction, provider: str, event_id: str, at: datetime) -> None:
    """Remembers that what the event says is booked."""
    tx.execute(_BOOKED, of_provider=provider, event=event_id, at=at)


def unbooked(db: Session, providers: Collection[str], limit: int) -> Sequence[tuple[str, str]]:
    """Provider and id of events that could not be booked, those first that were not tried for longest."""
    return [(row.provider, row.event_id) for row in db.all(_UNBOOKED, providers=list(providers), most=limit)]


def tried(tx: Transaction, provider: str, event_id: str, at: datetime) -> bytes | None:
    """Remembers that an event is tried again; its body, or None where it is booked."""
    row = tx.one(_TRIED, of_provider=provider, event=event_id, at=at)
    return bytes(row.payload) if row else None


def lock_unbooked(tx: Transaction, provider: str, event_id: str) -> bool:
    """Whether the event is still to be booked, by nobody but this transaction."""
    return tx.one(_LOCK_UNBOOKED, of_provider=provider, event=event_id) is not None


def cursor(db: Session, provider: str) -> datetime | None:
    """Until when the provider was asked for what was missed; None where it never was."""
    row = db.one(_CURSOR, of_provider=provider)
    return row.read_until if row else None


def reached(tx: Transaction, provider: str, until: datetime) -> None:
    """Moves the cursor on, never back."""
    tx.execute(_REACHED, of_provider=provider, until=until)
