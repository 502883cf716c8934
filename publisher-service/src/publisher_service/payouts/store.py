"""Payouts in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, delete, insert, literal_column, select, update

from adlib.db import Query, Session, Transaction
from publisher_service.payouts.model import NEXT_STATE, BankAccount, Payout, State
from publisher_service.tables import payout_requests

_DESTINATION = ("account_holder_name", "iban", "routing_number", "account_number")
_THIS_PAYOUT = (payout_requests.c.id == bindparam("of_id")) & (
    payout_requests.c.organization_id == bindparam("of_organization")
)

_ADD = Query(
    insert(payout_requests).values({column.name: bindparam(column.name) for column in payout_requests.columns})
)
_BY_ID = select(payout_requests).where(payout_requests.c.id == bindparam("id"))
_FIND = Query(_BY_ID.where(payout_requests.c.organization_id == bindparam("organization_id")))
_FIND_ANY_TENANT = Query(_BY_ID)
_LOCK_ANY_TENANT = Query(_BY_ID.with_for_update())
_BY_KEY = Query(
    select(payout_requests).where(
        payout_requests.c.organization_id == bindparam("organization_id"),
        payout_requests.c.idempotency_key == bindparam("key"),
    )
)
_PENDING_ANY_TENANT = Query(
    select(payout_requests.c.id)
    # Literals, so that the planner can use the partial index.
    .where(payout_requests.c.state.in_([literal_column(f"'{state}'") for state in NEXT_STATE]))
    .where(payout_requests.c.retry_at <= bindparam("due"))
    .order_by(payout_requests.c.retry_at)
    .limit(bindparam("rows"))
)
_CHANGES = ("state", "decided_by", "reason", "updated_at", "retry_at", "failed_tries")
_UPDATE = Query(
    update(payout_requests).where(_THIS_PAYOUT).values({name: bindparam(f"new_{name}") for name in _CHANGES})
)
_REMOVE = Query(delete(payout_requests).where(_THIS_PAYOUT, payout_requests.c.state == State.RESERVING.value))


def add(tx: Transaction, payout: Payout, idempotency_key: str) -> None:
    """Stores a new payout; an empty key means none."""
    tx.execute(
        _ADD,
        **{column.name: getattr(payout, column.name, None) for column in payout_requests.columns}
        | {name: getattr(payout.destination, name) for name in _DESTINATION}
        | {"idempotency_key": idempotency_key or None},
    )


def find(db: Session, organization_id: UUID, payout_id: UUID) -> Payout | None:
    """The organization's payout with this id."""
    return _payout(db.one(_FIND, organization_id=organization_id, id=payout_id))


def by_key(db: Session, organization_id: UUID, idempotency_key: str) -> Payout | None:
    """The payout that the organization requested with this key, which must not be empty."""
    return _payout(db.one(_BY_KEY, organization_id=organization_id, key=idempotency_key))


def find_any_tenant(db: Session, payout_id: UUID) -> Payout | None:
    """The payout with this id, of any organization."""
    return _payout(db.one(_FIND_ANY_TENANT, id=payout_id))


def lock_any_tenant(tx: Transaction, payout_id: UUID) -> Payout | None:
    """The payout with this id, of any organization, with its row locked until the transaction ends."""
    return _payout(tx.one(_LOCK_ANY_TENANT, id=payout_id))


def pending_any_tenant(db: Session, due: datetime, limit: int) -> Sequence[UUID]:
    """Payouts of every organization with a call to payment-service that is due, longest due first."""
    return [row.id for row in db.all(_PENDING_ANY_TENANT, due=due, rows=limit)]


def update_state(tx: Transaction, payout: Payout) -> None:
    """Stores a payout's changed state."""
    changes = {f"new_{name}": getattr(payout, name) for name in _CHANGES}
    tx.execute(_UPDATE, of_id=payout.id, of_organization=payout.organization_id, **changes)


def remove(tx: Transaction, payout: Payout) -> None:
    """Deletes a payout whose amount was not reserved."""
    tx.execute(_REMOVE, of_id=payout.id, of_organization=payout.organization_id)


def _payout(row: Any | None) -> Payout | None:
    if row is None:
        return None
    fields = row._asdict()
    del fields["idempotency_key"]
    destination = BankAccount(**{name: fields.pop(name) for name in _DESTINATION})
    return Payout(**fields | {"state": State(row.state), "destination": destination})
