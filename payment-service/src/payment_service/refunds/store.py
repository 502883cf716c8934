"""Refunds in the database."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, Text, any_, bindparam, insert, null, select, text, update

from adlib.db import Query, Session, Transaction
from adlib.db.database import Row
from adlib.paging import Page
from payment_service.quarantine import store as quarantine
from payment_service.quarantine.model import Kind
from payment_service.refunds.model import Refund, State
from payment_service.tables import refunds

_FIELDS = [
    refunds.c[name]
    for name in (
        "id", "payment_id", "organization_id", "provider", "amount_micros", "currency_code", "state", "external_id",
        "reason", "sent_as", "asked_by", "pending_reason", "failure_message", "returned_micros", "reversals",
        "followed_until", "created_at", "updated_at",
    )
]  # fmt: skip
_ADD = Query(
    insert(refunds).values(
        **{field.key: bindparam(field.key, type_=field.type) for field in _FIELDS}, ask_at=bindparam("ask_at")
    )
)
_LIST = Query(
    select(*_FIELDS)
    .where(
        refunds.c.organization_id == bindparam("organization"),
        refunds.c.payment_id == bindparam("payment"),
        refunds.c.id < bindparam("before"),
    )
    .order_by(refunds.c.id.desc())
    .limit(bindparam("most"))
)
# Staff refund payments of any organization, and provider reports carry none: these are for them and for jobs only.
_GET_ANY_TENANT = Query(select(*_FIELDS).where(refunds.c.id == bindparam("refund")))
# Callers that change a refund have locked its payment.
_BY_EXTERNAL_ID_ANY_TENANT = Query(
    select(*_FIELDS).where(refunds.c.provider == bindparam("of_provider"), refunds.c.external_id == bindparam("known"))
)
_UNSENT_ANY_TENANT = Query(
    select(refunds.c.id)
    .where(
        # Literal text, so that PostgreSQL uses the partial index.
        text("state = 'PENDING'"),
        refunds.c.external_id.is_(None),
        refunds.c.updated_at < bindparam("before"),
        quarantine.is_free(Kind.REFUND, refunds.c.id),
    )
    .order_by(refunds.c.updated_at)
    .limit(bindparam("most"))
)
_DUE_TO_POLL_ANY_TENANT = Query(
    select(refunds.c.id)
    .where(
        # Literal text, so that PostgreSQL uses the partial index.
        text("followed_until IS NOT NULL"),
        refunds.c.external_id.is_not(None),
        refunds.c.provider == any_(bindparam("providers", type_=ARRAY(Text))),
        refunds.c.ask_at <= bindparam("at"),
    )
    .order_by(refunds.c.ask_at)
    .limit(bindparam("most"))
)
_POLL_AT_ANY_TENANT = Query(
    update(refunds).where(refunds.c.id == bindparam("refund")).values(ask_at=bindparam("next_at"))
)
_FINALIZE_ANY_TENANT = Query(update(refunds).where(refunds.c.id == bindparam("refund")).values(followed_until=null()))
_UPDATE = Query(
    update(refunds)
    .where(refunds.c.organization_id == bindparam("organization"), refunds.c.id == bindparam("refund"))
    .values(
        state=bindparam("to_state"), external_id=bindparam("known"), pending_reason=bindparam("because"),
        failure_message=bindparam("message"), amount_micros=bindparam("sent"), returned_micros=bindparam("returned"),
        reversals=bindparam("times"), updated_at=bindparam("at"),
    )
)  # fmt: skip


def add(tx: Transaction, refund: Refund, poll_at: datetime | None = None) -> None:
    """Stores a new refund, and when to poll its provider first."""
    tx.execute(_ADD, **{field.key: getattr(refund, field.key) for field in _FIELDS}, ask_at=poll_at)


def page(db: Session, organization_id: UUID, payment_id: UUID, part: Page) -> Sequence[Refund]:
    """The refunds of the organization's payment, newest first."""
    rows = db.all(_LIST, organization=organization_id, payment=payment_id, before=part.before, most=part.limit)
    return [found for row in rows if (found := _refund(row))]


def get_any_tenant(db: Session, refund_id: UUID) -> Refund | None:
    """The refund of any organization."""
    return _refund(db.one(_GET_ANY_TENANT, refund=refund_id))


def get_by_external_id_any_tenant(db: Session, provider: str, external_id: str) -> Refund | None:
    """The refund with the provider's id."""
    return _refund(db.one(_BY_EXTERNAL_ID_ANY_TENANT, of_provider=provider, known=external_id))


def unsent_any_tenant(db: Session, before: datetime, limit: int) -> Sequence[UUID]:
    """Refunds not sent to their providers and unchanged since `before`, longest unchanged first."""
    return [row.id for row in db.all(_UNSENT_ANY_TENANT, before=before, most=limit)]


def due_to_poll_any_tenant(db: Session, providers: Sequence[str], at: datetime, limit: int) -> Sequence[UUID]:
    """Sent refunds that are not final and are due to be polled at these providers, longest due first."""
    return [row.id for row in db.all(_DUE_TO_POLL_ANY_TENANT, providers=list(providers), at=at, most=limit)]


def poll_at_any_tenant(tx: Transaction, refund_id: UUID, at: datetime) -> None:
    """Sets when to poll the refund's provider next."""
    tx.execute(_POLL_AT_ANY_TENANT, refund=refund_id, next_at=at)


def finalize_any_tenant(tx: Transaction, refund_id: UUID) -> None:
    """Marks the refund as final, which ends the polling."""
    tx.execute(_FINALIZE_ANY_TENANT, refund=refund_id)


def save(tx: Transaction, refund: Refund) -> None:
    """Updates the refund's mutable columns."""
    tx.execute(
        _UPDATE,
        organization=refund.organization_id,
        refund=refund.id,
        to_state=refund.state.value,
        known=refund.external_id,
        because=refund.pending_reason,
        message=refund.failure_message,
        sent=refund.amount_micros,
        returned=refund.returned_micros,
        times=refund.reversals,
        at=refund.updated_at,
    )


def _refund(row: Row | None) -> Refund | None:
    return Refund(**{**row._asdict(), "state": State(row.state)}) if row else None
