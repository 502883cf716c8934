"""Payouts in the database."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import ColumnElement, Text, bindparam, func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import JSONB

from adlib.db import Query, Session, Transaction, UniqueViolated
from adlib.db.database import Row
from payment_service.payouts.model import Payout, State, account_from
from payment_service.quarantine import store as quarantine
from payment_service.quarantine.model import Kind
from payment_service.tables import payouts

_FIELDS = [
    payouts.c[name]
    for name in (
        "id", "organization_id", "publisher_id", "amount_micros", "currency_code", "state", "destination",
        "recipient_id", "quote_id", "transfer_id", "failure_reason", "attempts", "created_at", "updated_at",
        "returned_micros",
    )
]  # fmt: skip
_ADD = Query(
    insert(payouts).values(
        **{
            name: bindparam(name)
            for name in (
                "id", "organization_id", "publisher_id", "amount_micros", "currency_code", "state", "created_at",
                "updated_at",
            )
        }
    )
)  # fmt: skip
# In text where an index is for that state alone, so that it is used.
# Payouts are named by services and banks, by their id alone: every statement here is for those.
_THIS = payouts.c.id == bindparam("payout")
_GET = Query(select(*_FIELDS).where(_THIS))
_LOCK = Query(select(*_FIELDS).where(_THIS).with_for_update())
_LOCK_BY_TRANSFER = Query(select(*_FIELDS).where(payouts.c.transfer_id == bindparam("transfer")).with_for_update())
_SAVE = Query(
    update(payouts)
    .where(_THIS)
    .values(
        state=bindparam("to_state"), destination=bindparam("account", type_=JSONB), failure_reason=bindparam("reason"),
        next_attempt_at=bindparam("next_at"), returned_micros=bindparam("returned"), updated_at=bindparam("at"),
    )
)  # fmt: skip


def _keep(column: ColumnElement[str]) -> Query:
    return Query(update(payouts).where(_THIS).values({column: bindparam("external", type_=Text)}))


_KEEP = {
    "recipient_id": _keep(payouts.c.recipient_id),
    "quote_id": _keep(payouts.c.quote_id),
    "transfer_id": _keep(payouts.c.transfer_id),
}
_CLAIM = Query(
    update(payouts)
    .where(_THIS, payouts.c.state == State.SENDING.value, payouts.c.next_attempt_at <= bindparam("at"))
    .values(next_attempt_at=bindparam("leased_until"), attempts=payouts.c.attempts + 1)
    .returning(*_FIELDS)
)
_AGAIN = Query(
    update(payouts).where(_THIS, payouts.c.state == State.SENDING.value).values(next_attempt_at=bindparam("next_at"))
)
_IS_FREE = quarantine.is_free(Kind.PAYOUT, payouts.c.id)
_DUE = Query(
    select(payouts.c.id)
    .where(text("state = 'SENDING'"), payouts.c.next_attempt_at <= bindparam("at"), _IS_FREE)
    .order_by(payouts.c.next_attempt_at)
    .limit(bindparam("most"))
)
_UNDER_WAY = Query(
    select(payouts.c.id)
    .where(text("state = 'PROCESSING'"), payouts.c.updated_at < bindparam("before"), _IS_FREE)
    .order_by(payouts.c.next_attempt_at.nulls_first())
    .limit(bindparam("most"))
)
_FOLLOWED = Query(
    select(payouts.c.id)
    .where(
        # As the index says it, so that it is used.
        text("state IN ('PAID', 'FAILED')"),
        or_(payouts.c.state == State.PAID.value, payouts.c.returned_micros < payouts.c.amount_micros),
        payouts.c.updated_at > bindparam("since"),
        func.coalesce(payouts.c.next_attempt_at, payouts.c.updated_at) < bindparam("before"),
    )
    .order_by(func.coalesce(payouts.c.next_attempt_at, payouts.c.updated_at))
    .limit(bindparam("most"))
)
_CHECKED = Query(
    update(payouts)
    .where(_THIS, or_(*(payouts.c.state == one.value for one in (State.PROCESSING, State.PAID, State.FAILED))))
    .values(next_attempt_at=bindparam("checked_at"))
)


def add(tx: Transaction, payout: Payout) -> bool:
    """Stores a new payout; False where there is one with its id."""
    try:
        with tx.savepoint():
            tx.execute(
                _ADD,
                id=payout.id,
                organization_id=payout.organization_id,
                publisher_id=payout.publisher_id,
                amount_micros=payout.amount_micros,
                currency_code=payout.currency_code,
                state=payout.state.value,
                created_at=payout.created_at,
                updated_at=payout.updated_at,
            )
    except UniqueViolated:
        return False
    return True


def get(db: Session, payout_id: UUID) -> Payout | None:
    """The payout with this id."""
    return _payout(db.one(_GET, payout=payout_id))


def lock(tx: Transaction, payout_id: UUID) -> Payout | None:
    """The payout with this id, for this transaction to change."""
    return _payout(tx.one(_LOCK, payout=payout_id))


def lock_by_transfer(tx: Transaction, transfer_id: str) -> Payout | None:
    """The payout that the bank's transfer is of, for this transaction to change."""
    return _payout(tx.one(_LOCK_BY_TRANSFER, transfer=transfer_id))


def save(tx: Transaction, payout: Payout, next_attempt_at: datetime | None = None) -> None:
    """Stores the payout's state, and when to try to send it."""
    tx.execute(
        _SAVE,
        payout=payout.id,
        to_state=payout.state.value,
        account=Jsonb(asdict(payout.destination)) if payout.destination else None,
        reason=payout.failure_reason,
        next_at=next_attempt_at,
        returned=payout.returned_micros,
        at=payout.updated_at,
    )


def keep(tx: Transaction, payout_id: UUID, field: str, external_id: str | None) -> None:
    """Stores the bank's id of a step that was taken: recipient_id, quote_id or transfer_id."""
    tx.execute(_KEEP[field], payout=payout_id, external=external_id)


def claim(tx: Transaction, payout_id: UUID, at: datetime, leased_until: datetime) -> Payout | None:
    """The payout, for this caller alone to send until then; None where it is not due, or another's."""
    return _payout(tx.one(_CLAIM, payout=payout_id, at=at, leased_until=leased_until))


def again(tx: Transaction, payout_id: UUID, at: datetime) -> None:
    """Says when to try to send it next."""
    tx.execute(_AGAIN, payout=payout_id, next_at=at)


def due(db: Session, at: datetime, limit: int) -> Sequence[UUID]:
    """Payouts to be sent now."""
    return [row.id for row in db.all(_DUE, at=at, most=limit)]


def under_way(db: Session, before: datetime, limit: int) -> Sequence[UUID]:
    """Payouts that the bank has had since before that time; those first that were not asked about for longest."""
    return [row.id for row in db.all(_UNDER_WAY, before=before, most=limit)]


def followed(db: Session, since: datetime, before: datetime, limit: int) -> Sequence[UUID]:
    """Payouts that ended since then and may not stay so, not asked about since `before`; the longest ago first."""
    return [row.id for row in db.all(_FOLLOWED, since=since, before=before, most=limit)]


def checked(tx: Transaction, payout_id: UUID, at: datetime) -> None:
    """Remembers when the bank was asked about a payout that is under way, or may come back."""
    tx.execute(_CHECKED, payout=payout_id, checked_at=at)


def _payout(row: Row | None) -> Payout | None:
    if row is None:
        return None
    fields = row._asdict() | {"state": State(row.state), "destination": account_from(row.destination)}
    return Payout(**fields)
