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
# Provider reports carry no organization; these statements are for reports, staff and jobs only.
_GET_ANY_TENANT = Query(select(*_FIELDS).where(payments.c.id == bindparam("payment")))
_LOCK_ANY_TENANT = Query(
    select(*_FIELDS)
    .where(payments.c.id == bindparam("payment"), payments.c.provider == bindparam("of_provider"))
    .with_for_update()
)
_OPEN_ANY_TENANT = Query(
    select(*_FIELDS)
    .where(
        # Literal text, so that PostgreSQL uses the partial index.
        text("state IN ('PENDING', 'PROCESSING', 'FAILED')"),
        payments.c.is_closed.is_(False),
        or_(
            payments.c.provider == any_(bindparam("polled", type_=ARRAY(Text))),
            payments.c.expires_at <= bindparam("at"),
            # It has not been opened.
            payments.c.external_id.is_(None),
        ),
        payments.c.created_at < bindparam("before"),
        payments.c.checked_at < bindparam("before"),
        quarantine.is_free(Kind.PAYMENT, payments.c.id),
    )
    .order_by(payments.c.checked_at)
    .limit(bindparam("most"))
)
_MUTABLE = (
    "state", "external_id", "failure_message", "updated_at", "pending_reason", "paid_micros", "refunded_micros",
    "disputed_micros", "outcome", "is_closed", "expires_at", "instructions",
)  # fmt: skip
_UPDATE = Query(
    update(payments)
    .where(_OWN, payments.c.id == bindparam("payment"))
    .values({name: bindparam(f"to_{name}", type_=payments.c[name].type) for name in _MUTABLE})
)
_RECORD_CHECK = Query(
    update(payments).where(_OWN, payments.c.id == bindparam("payment")).values(checked_at=bindparam("at"))
)


def add(tx: Transaction, payment: Payment) -> Payment | None:
    """Stores a new payment; None if the organization has one with this idempotency key."""
    try:
        with tx.savepoint():
            tx.execute(_ADD, **_row(payment))
    except UniqueViolated:
        return None
    return payment


def by_key(db: Session, organization_id: UUID, key: str) -> Payment | None:
    """The organization's payment with this idempotency key."""
    return _payment(db.one(_BY_KEY, organization=organization_id, key=key))


def get(db: Session, organization_id: UUID, payment_id: UUID) -> Payment | None:
    """The organization's payment."""
    return _payment(db.one(_GET, organization=organization_id, payment=payment_id))


def page(db: Session, organization_id: UUID, part: Page) -> Sequence[Payment]:
    """The organization's payments, newest first."""
    rows = db.all(_LIST, organization=organization_id, before=part.before, most=part.limit)
    return [found for row in rows if (found := _payment(row))]


def lock_any_tenant(tx: Transaction, payment_id: UUID, provider: str) -> Payment | None:
    """The provider's payment, locked."""
    return _payment(tx.one(_LOCK_ANY_TENANT, payment=payment_id, of_provider=provider))


def get_any_tenant(db: Session, payment_id: UUID) -> Payment | None:
    """The payment of any organization."""
    return _payment(db.one(_GET_ANY_TENANT, payment=payment_id))


def open_any_tenant(
    db: Session, polled: Sequence[str], before: datetime, at: datetime, limit: int
) -> Sequence[Payment]:
    """Open payments created and last checked before `before`, least recently checked first.

    Of the providers in `polled` all of them; of the others those that had expired by `at` or have not been opened.
    """
    rows = db.all(_OPEN_ANY_TENANT, polled=list(polled), before=before, at=at, most=limit)
    return [found for row in rows if (found := _payment(row))]


def save(tx: Transaction, payment: Payment) -> None:
    """Updates the payment's mutable columns."""
    row = _row(payment)
    changed = {f"to_{name}": row[name] for name in _MUTABLE}
    tx.execute(_UPDATE, organization=payment.organization_id, payment=payment.id, **changed)


def record_check(tx: Transaction, payment: Payment, at: datetime) -> None:
    """Records when the payment was last checked."""
    tx.execute(_RECORD_CHECK, organization=payment.organization_id, payment=payment.id, at=at)


def _row(payment: Payment) -> dict[str, Any]:
    row = {field.key: getattr(payment, field.key) for field in _FIELDS}
    return {**row, "choice": Jsonb(payment.choice), "instructions": Jsonb(payment.instructions)}


def _payment(row: Row | None) -> Payment | None:
    if row is None:
        return None
    return Payment(**{**row._asdict(), "state": State(row.state), "outcome": Outcome(row.outcome)})
