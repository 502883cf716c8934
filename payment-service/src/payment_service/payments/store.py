"""Payments in the database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import ARRAY, Text, any_, bindparam, insert, or_, select, text, update

from adlib.db import Query, Session, Transaction, UniqueViolated
from adlib.db.database import Row
from adlib.paging import Page
from payment_service.payments.model import Outcome, Payment, State
from payment_service.quarantine import store as quarantine
from payment_service.quarantine.model import Kind
from payment_service.tables import payments

_FIELDS = [
    payments.c[name]
    for name in (
        "id", "organization_id", "provider", "state", "amount_micros", "currency_code", "idempotency_key",
        "external_id", "failure_message", "created_at", "updated_at", "pending_reason", "paid_micros",
        "refunded_micros", "disputed_micros", "outcome", "is_closed", "expires_at", "choice", "instructions",
    )
]  # fmt: skip
_ADD = Query(
    insert(payments).values(
        **{field.key: bindparam(field.key, type_=field.type) for field in _FIELDS}, checked_at=bindparam("created_at")
    )
)
_OWN = payments.c.organization_id == bindparam("organization")
_BY_KEY = Query(select(*_FIELDS).where(_OWN, payments.c.idempotency_key == bindparam("key")))
_GET = Query(select(*_FIELDS).where(_OWN, payments.c.id == bindparam("payment")))
_LIST = Query(
    select(*_FIELDS)
    .where(_OWN, payments.c.id < bindparam("before"))
    .order_by(payments.c.id.desc())
    .limit(bindparam("most"))
)
# Providers name a payment without its organization: these are for what they say, for staff and for the job alone.
_GET_OF_ANYONE = Query(select(*_FIELDS).where(payments.c.id == bindparam("payment")))
_LOCK_OF_ANYONE = Query(
    select(*_FIELDS)
    .where(payments.c.id == bindparam("payment"), payments.c.provider == bindparam("of_provider"))
    .with_for_update()
)
_OPEN_OF_ANYONE = Query(
    select(*_FIELDS)
    .where(
        # As the index says it, so that it is used.
        text("state IN ('PENDING', 'PROCESSING', 'FAILED')"),
        payments.c.is_closed.is_(False),
        or_(
            payments.c.provider == any_(bindparam("asked", type_=ARRAY(Text))),
            payments.c.expires_at <= bindparam("at"),
            # It could not be opened.
            payments.c.external_id.is_(None),
        ),
        payments.c.created_at < bindparam("before"),
        payments.c.checked_at < bindparam("before"),
        quarantine.is_free(Kind.PAYMENT, payments.c.id),
    )
    .order_by(payments.c.checked_at)
    .limit(bindparam("most"))
)
_CHANGING = (
    "state", "external_id", "failure_message", "updated_at", "pending_reason", "paid_micros", "refunded_micros",
    "disputed_micros", "outcome", "is_closed", "expires_at", "instructions",
)  # fmt: skip
_UPDATE = Query(
    update(payments)
    .where(_OWN, payments.c.id == bindparam("payment"))
    .values({name: bindparam(f"to_{name}", type_=payments.c[name].type) for name in _CHANGING})
)
_CHECKED = Query(update(payments).where(_OWN, payments.c.id == bindparam("payment")).values(checked_at=bindparam("at")))


def add(tx: Transaction, payment: Payment) -> Payment | None:
    """Stores a new payment; None where the organization has one with this idempotency key."""
    try:
        with tx.savepoint():
            tx.execute(_ADD, **_row(payment))
    except UniqueViolated:
        return None
    return payment


def by_key(db: Session, organization_id: UUID, key: str) -> Payment | None:
    """The payment that was asked for with this idempotency key."""
    return _payment(db.one(_BY_KEY, organization=organization_id, key=key))


def get(db: Session, organization_id: UUID, payment_id: UUID) -> Payment | None:
    """The organization's payment."""
    return _payment(db.one(_GET, organization=organization_id, payment=payment_id))


def page(db: Session, organization_id: UUID, part: Page) -> Sequence[Payment]:
    """The organization's payments, newest first."""
    rows = db.all(_LIST, organization=organization_id, before=part.before, most=part.limit)
    return [found for row in rows if (found := _payment(row))]


def lock_of_anyone(tx: Transaction, payment_id: UUID, provider: str) -> Payment | None:
    """The payment that a provider speaks of, for this transaction to change."""
    return _payment(tx.one(_LOCK_OF_ANYONE, payment=payment_id, of_provider=provider))


def get_of_anyone(db: Session, payment_id: UUID) -> Payment | None:
    """Whoever's payment."""
    return _payment(db.one(_GET_OF_ANYONE, payment=payment_id))


def open_of_anyone(db: Session, asked: Sequence[str], before: datetime, at: datetime, limit: int) -> Sequence[Payment]:
    """Payments to ask about, made and last asked about before that time; those first that wait longest.

    They are those of the providers `asked`, and of all providers those that have expired or could not be opened.
    """
    rows = db.all(_OPEN_OF_ANYONE, asked=list(asked), before=before, at=at, most=limit)
    return [found for row in rows if (found := _payment(row))]


def save(tx: Transaction, payment: Payment) -> None:
    """Stores what can change of a payment."""
    row = _row(payment)
    changing = {f"to_{name}": row[name] for name in _CHANGING}
    tx.execute(_UPDATE, organization=payment.organization_id, payment=payment.id, **changing)


def checked(tx: Transaction, payment: Payment, at: datetime) -> None:
    """Remembers when the provider was asked."""
    tx.execute(_CHECKED, organization=payment.organization_id, payment=payment.id, at=at)


def _row(payment: Payment) -> dict[str, Any]:
    row = {field.key: getattr(payment, field.key) for field in _FIELDS}
    return {**row, "choice": Jsonb(payment.choice), "instructions": Jsonb(payment.instructions)}


def _payment(row: Row | None) -> Payment | None:
    if row is None:
        return None
    return Payment(**{**row._asdict(), "state": State(row.state), "outcome": Outcome(row.outcome)})
