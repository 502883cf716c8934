"""Payouts in the database. What is named `staff_…` sees every organization's."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, delete, insert, literal_column, select, update

from adlib.db import Query, Session, Transaction
from publisher_service.payouts.model import AFTERWARDS, BankAccount, Payout, State
from publisher_service.tables import payout_requests as payouts

_DESTINATION = ("account_holder_name", "iban", "routing_number", "account_number")
_IS_IT = (payouts.c.id == bindparam("of_id")) & (payouts.c.organization_id == bindparam("of_organization"))

_ADD = Query(insert(payouts).values({column.name: bindparam(column.name) for column in payouts.columns}))
_BY_ID = select(payouts).where(payouts.c.id == bindparam("id"))
_FIND = Query(_BY_ID.where(payouts.c.organization_id == bindparam("organization_id")))
_STAFF_FIND = Query(_BY_ID)
_STAFF_LOCK = Query(_BY_ID.with_for_update())
_BY_KEY = Query(
    select(payouts).where(
        payouts.c.organization_id == bindparam("organization_id"), payouts.c.idempotency_key == bindparam("key")
    )
)
_STAFF_LEFT_OVER = Query(
    select(payouts.c.id)
    # Literal, so that the planner sees that the partial index fits.
    .where(payouts.c.state.in_([literal_column(f"'{state}'") for state in AFTERWARDS]))
    .where(payouts.c.retry_at <= bindparam("due"))
    .order_by(payouts.c.retry_at)
    .limit(bindparam("rows"))
)
_CHANGES = ("state", "decided_by", "reason", "updated_at", "retry_at", "failed_tries")
_UPDATE = Query(update(payouts).where(_IS_IT).values({name: bindparam(f"new_{name}") for name in _CHANGES}))
_REMOVE = Query(delete(payouts).where(_IS_IT, payouts.c.state == State.RESERVING.value))


def add(tx: Transaction, payout: Payout, idempotency_key: str) -> None:
    """Stores a new payout; an empty key stands for none."""
    tx.execute(
        _ADD,
        **{column.name: getattr(payout, column.name, None) for column in payouts.columns}
        | {name: getattr(payout.destination, name) for name in _DESTINATION}
        | {"idempotency_key": idempotency_key or None},
    )


def find(db: Session, organization_id: UUID, payout_id: UUID) -> Payout | None:
    """The organization's payout with this id."""
    return _payout(db.one(_FIND, organization_id=organization_id, id=payout_id))


def by_key(db: Session, organization_id: UUID, idempotency_key: str) -> Payout | None:
    """The payout that the organization asked for with this key, which is not empty."""
    return _payout(db.one(_BY_KEY, organization_id=organization_id, key=idempotency_key))


def staff_find(db: Session, payout_id: UUID) -> Payout | None:
    """Anyone's payout with this id."""
    return _payout(db.one(_STAFF_FIND, id=payout_id))


def staff_lock(tx: Transaction, payout_id: UUID) -> Payout | None:
    """Anyone's payout with this id, kept from changing until the transaction ends."""
    return _payout(tx.one(_STAFF_LOCK, id=payout_id))


def staff_left_over(db: Session, due: datetime, limit: int) -> Sequence[UUID]:
    """Everyone's payouts that payment-service has yet to be told of and whose time has come, longest due first."""
    return [row.id for row in db.all(_STAFF_LEFT_OVER, due=due, rows=limit)]


def update_state(tx: Transaction, payout: Payout) -> None:
    """Stores what has changed in a payout."""
    changes = {f"new_{name}": getattr(payout, name) for name in _CHANGES}
    tx.execute(_UPDATE, of_id=payout.id, of_organization=payout.organization_id, **changes)


def remove(tx: Transaction, payout: Payout) -> None:
    """Takes back a payout whose money was never set aside."""
    tx.execute(_REMOVE, of_id=payout.id, of_organization=payout.organization_id)


def _payout(row: Any | None) -> Payout | None:
    if row is None:
        return None
    fields = row._asdict()
    del fields["idempotency_key"]
    destination = BankAccount(**{name: fields.pop(name) for name in _DESTINATION})
    return Payout(**fields | {"state": State(row.state), "destination": destination})
