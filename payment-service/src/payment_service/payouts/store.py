"""Payouts in the database."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import Text, bindparam, func, insert, or_, select, text, update
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
# Services and banks identify payouts by their id alone, so no statement here names an organization. A state is spelled
# as text if it has a partial index, so that the index is used.
_IS_PAYOUT = payouts.c.id == bindparam("payout")
_GET = Query(select(*_FIELDS).where(_IS_PAYOUT))
_LOCK = Query(select(*_FIELDS).where(_IS_PAYOUT).with_for_update())
_LOCK_BY_TRANSFER = Query(select(*_FIELDS).where(payouts.c.transfer_id == bindparam("transfer")).with_for_update())
_SAVE = Query(
    update(payouts)
    .where(_IS_PAYOUT)
    .values(
        state=bindparam("to_state"), destination=bindparam("account", type_=JSONB), failure_reason=bindparam("reason"),
        next_attempt_at=bindparam("next_at"), returned_micros=bindparam("returned"), updated_at=bindparam("at"),
    )
)  # fmt: skip
_SAVE_STEP = {
    name: Query(update(payouts).where(_IS_PAYOUT).values({payouts.c[name]: bindparam("external", type_=Text)}))
    for name in ("recipient_id", "quote_id", "transfer_id")
}
_CLAIM = Query(
    update(payouts)
    .where(_IS_PAYOUT, payouts.c.state == State.SENDING.value, payouts.c.next_attempt_at <= bindparam("at"))
    .values(next_attempt_at=bindparam("leased_until"), attempts=payouts.c.attempts + 1)
    .returning(*_FIELDS)
)
_SCHEDULE = Query(
    update(payouts)
    .where(_IS_PAYOUT, payouts.c.state == State.SENDING.value)
    .values(next_attempt_at=bindparam("next_at"))
)
_IS_FREE = quarantine.is_free(Kind.PAYOUT, payouts.c.id)
_DUE = Query(
    select(payouts.c.id)
    .where(text("state = 'SENDING'"), payouts.c.next_attempt_at <= bindparam("at"), _IS_FREE)
    .order_by(payouts.c.next_attempt_at)
    .limit(bindparam("most"))
)
_PROCESSING = Query(
    select(payouts.c.id)
    .where(text("state = 'PROCESSING'"), payouts.c.updated_at < bindparam("before"), _IS_FREE)
    .order_by(payouts.c.next_attempt_at.nulls_first())
    .limit(bindparam("most"))
)
_RETURNABLE = Query(
    select(payouts.c.id)
    .where(
        # Spelled as in the index, so that it is used.
        text("state IN ('PAID', 'FAILED')"),
        or_(payouts.c.state == State.PAID.value, payouts.c.returned_micros < payouts.c.amount_micros),
        payouts.c.updated_at > bindparam("since"),
        func.coalesce(payouts.c.next_attempt_at, payouts.c.updated_at) < bindparam("before"),
    )
    .order_by(func.coalesce(payouts.c.next_attempt_at, payouts.c.updated_at))
    .limit(bindparam("most"))
)
_MARK_CHECKED = Query(
    update(payouts)
    .where(_IS_PAYOUT, or_(*(payouts.c.state == one.value for one in (State.PROCESSING, State.PAID, State.FAILED))))
    .values(next_attempt_at=bindparam("checked_at"))
)


def add(tx: Transaction, payout: Payout) -> bool:
    """Stores a new payout; False if its id exists."""
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


def get_any_tenant(db: Session, payout_id: UUID) -> Payout | None:
    """The payout with this id."""
    return _payout(db.one(_GET, payout=payout_id))


def lock_any_tenant(tx: Transaction, payout_id: UUID) -> Payout | None:
    """The payout with this id, locked."""
    return _payout(tx.one(_LOCK, payout=payout_id))


def lock_by_transfer_any_tenant(tx: Transaction, transfer_id: str) -> Payout | None:
    """The payout that was sent with the transfer, locked."""
    return _payout(tx.one(_LOCK_BY_TRANSFER, transfer=transfer_id))


def save_any_tenant(tx: Transaction, payout: Payout, next_attempt_at: datetime | None = None) -> None:
    """Stores the payout's state, and when to attempt to send it."""
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


def save_step_any_tenant(tx: Transaction, payout_id: UUID, field: str, external_id: str | None) -> None:
    """Stores the provider's id from a step: recipient_id, quote_id or transfer_id."""
    tx.execute(_SAVE_STEP[field], payout=payout_id, external=external_id)


def claim_any_tenant(tx: Transaction, payout_id: UUID, at: datetime, leased_until: datetime) -> Payout | None:
    """Leases the payout to the caller until then; None if it is not due or is leased."""
    return _payout(tx.one(_CLAIM, payout=payout_id, at=at, leased_until=leased_until))


def schedule_any_tenant(tx: Transaction, payout_id: UUID, at: datetime) -> None:
    """Stores when to attempt to send it next."""
    tx.execute(_SCHEDULE, payout=payout_id, next_at=at)


def due_any_tenant(db: Session, at: datetime, limit: int) -> Sequence[UUID]:
    """Payouts whose next attempt is due."""
    return [row.id for row in db.all(_DUE, at=at, most=limit)]


def processing_any_tenant(db: Session, before: datetime, limit: int) -> Sequence[UUID]:
    """Payouts that the provider has been processing since before that time, least recently checked first."""
    return [row.id for row in db.all(_PROCESSING, before=before, most=limit)]


def returnable_any_tenant(db: Session, since: datetime, before: datetime, limit: int) -> Sequence[UUID]:
    """Payouts that ended after `since` and may be returned, last checked before `before`, least recently first."""
    return [row.id for row in db.all(_RETURNABLE, since=since, before=before, most=limit)]


def mark_checked_any_tenant(tx: Transaction, payout_id: UUID, at: datetime) -> None:
    """Stores when the status of a payout that is processing or may be returned was polled."""
    tx.execute(_MARK_CHECKED, payout=payout_id, checked_at=at)


def _payout(row: Row | None) -> Payout | None:
    if row is None:
        return None
    fields = row._asdict() | {"state": State(row.state), "destination": account_from(row.destination)}
    return Payout(**fields)
