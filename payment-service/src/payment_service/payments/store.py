"""Payments in the database."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, bindparam, insert, or_, select, text, update

from adlib.db import Query, Session, Transaction, UniqueViolated
from adlib.db.database import Row
from adlib.paging import Page
from payment_service.payments.model import Payment, State
from payment_service.tables import payments

_FIELDS = [
    payments.c[name]
    for name in (
        "id", "organization_id", "provider", "state", "amount_micros", "currency_code", "idempotency_key",
        "external_id", "failure_message", "created_at", "updated_at",
    )
]  # fmt: skip
_ADD = Query(
    insert(payments).values(
        **{field.key: bindparam(field.key) for field in _FIELDS}, checked_at=bindparam("created_at")
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
# Providers name a payment without its organization: these two are for what they say and for the job alone.
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
        # A declined one may still be paid, but nobody waits for that longer than for one that was never tried.
        or_(
            payments.c.state != State.FAILED.value,
            and_(payments.c.external_id.is_not(None), payments.c.created_at > bindparam("declined_after")),
        ),
        payments.c.created_at < bindparam("before"),
        payments.c.checked_at < bindparam("before"),
    )
    .order_by(payments.c.checked_at)
    .limit(bindparam("most"))
)
_UPDATE = Query(
    update(payments)
    .where(_OWN, payments.c.id == bindparam("payment"))
    .values(
        state=bindparam("to_state"), external_id=bindparam("known_as"), failure_message=bindparam("message"),
        updated_at=bindparam("at"),
    )
)  # fmt: skip
_CHECKED = Query(update(payments).where(_OWN, payments.c.id == bindparam("payment")).values(checked_at=bindparam("at")))


def add(tx: Transaction, payment: Payment) -> Payment | None:
    """Stores a new payment; None where the organization has one with this idempotency key."""
    try:
        with tx.savepoint():
            tx.execute(_ADD, **{field.key: getattr(payment, field.key) for field in _FIELDS})
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


def open_of_anyone(db: Session, before: datetime, declined_after: datetime, limit: int) -> Sequence[Payment]:
    """Payments that may still change, made and last asked about before that time; those first that wait longest."""
    rows = db.all(_OPEN_OF_ANYONE, before=before, declined_after=declined_after, most=limit)
    return [found for row in rows if (found := _payment(row))]


def save(tx: Transaction, payment: Payment) -> None:
    """Stores what can change of a payment."""
    tx.execute(
        _UPDATE,
        organization=payment.organization_id,
        payment=payment.id,
        to_state=payment.state.value,
        known_as=payment.external_id,
        message=payment.failure_message,
        at=payment.updated_at,
    )


def checked(tx: Transaction, payment: Payment, at: datetime) -> None:
    """Remembers when the provider was asked."""
    tx.execute(_CHECKED, organization=payment.organization_id, payment=payment.id, at=at)


def _payment(row: Row | None) -> Payment | None:
    if row is None:
        return None
    return Payment(**{**row._asdict(), "state": State(row.state)})
