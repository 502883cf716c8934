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
# Staff refund anyone's payments, and providers know nothing of organizations: these are for them and for the job.
_GET_OF_ANYONE = Query(select(*_FIELDS).where(refunds.c.id == bindparam("refund")))
# Whoever changes a refund has locked its payment.
_KNOWN_OF_ANYONE = Query(
    select(*_FIELDS).where(refunds.c.provider == bindparam("of_provider"), refunds.c.external_id == bindparam("known"))
)
_UNSENT_OF_ANYONE = Query(
    select(refunds.c.id)
    .where(
        # As the index says it, so that it is used.
        text("state = 'PENDING'"),
        refunds.c.external_id.is_(None),
        refunds.c.updated_at < bindparam("before"),
        quarantine.is_free(Kind.REFUND, refunds.c.id),
    )
    .order_by(refunds.c.updated_at)
    .limit(bindparam("most"))
)
_FOLLOWED_OF_ANYONE = Query(
    select(refunds.c.id)
    .where(
        # As the index says it, so that it is used.
        text("followed_until IS NOT NULL"),
        refunds.c.external_id.is_not(None),
        refunds.c.provider == any_(bindparam("providers", type_=ARRAY(Text))),
        refunds.c.ask_at <= bindparam("at"),
    )
    .order_by(refunds.c.ask_at)
    .limit(bindparam("most"))
)
_ASK_OF_ANYONE = Query(update(refunds).where(refunds.c.id == bindparam("refund")).values(ask_at=bindparam("next_at")))
_FINISH_OF_ANYONE = Query(update(refunds).where(refunds.c.id == bindparam("refund")).values(followed_until=null()))
_UPDATE = Query(
    update(refunds)
    .where(refunds.c.organization_id == bindparam("organization"), refunds.c.id == bindparam("refund"))
    .values(
        state=bindparam("to_state"), external_id=bindparam("known"), pending_reason=bindparam("because"),
        failure_message=bindparam("message"), amount_micros=bindparam("sent"), returned_micros=bindparam("returned"),
        reversals=bindparam("times"), updated_at=bindparam("at"),
    )
)  # fmt: skip


def add(tx: Transaction, refund: Refund, ask_at: datetime | None = None) -> None:
    """Stores a new refund, and when to ask its provider first whether it came back."""
    tx.execute(_ADD, **{field.key: getattr(refund, field.key) for field in _FIELDS}, ask_at=ask_at)


def page(db: Session, organization_id: UUID, payment_id: UUID, part: Page) -> Sequence[Refund]:
    """The refunds of the organization's payment, newest first."""
    rows = db.all(_LIST, organization=organization_id, payment=payment_id, before=part.before, most=part.limit)
    return [found for row in rows if (found := _refund(row))]


def get_of_anyone(db: Session, refund_id: UUID) -> Refund | None:
    """Whoever's refund."""
    return _refund(db.one(_GET_OF_ANYONE, refund=refund_id))


def known_of_anyone(db: Session, provider: str, external_id: str) -> Refund | None:
    """The refund with the provider's id."""
    return _refund(db.one(_KNOWN_OF_ANYONE, of_provider=provider, known=external_id))


def unsent_of_anyone(db: Session, before: datetime, limit: int) -> Sequence[UUID]:
    """Refunds that their providers have still to be asked for, unchanged since then; those first that wait longest."""
    return [row.id for row in db.all(_UNSENT_OF_ANYONE, before=before, most=limit)]


def followed_of_anyone(db: Session, providers: Sequence[str], at: datetime, limit: int) -> Sequence[UUID]:
    """Refunds that these providers have, and may reverse, and are to be asked about now; the longest due first."""
    return [row.id for row in db.all(_FOLLOWED_OF_ANYONE, providers=list(providers), at=at, most=limit)]


def ask_again_of_anyone(tx: Transaction, refund_id: UUID, at: datetime) -> None:
    """Says when to ask the refund's provider next."""
    tx.execute(_ASK_OF_ANYONE, refund=refund_id, next_at=at)


def finish_of_anyone(tx: Transaction, refund_id: UUID) -> None:
    """Nothing outside can reverse the refund any more: its provider is not asked again."""
    tx.execute(_FINISH_OF_ANYONE, refund=refund_id)


def save(tx: Transaction, refund: Refund) -> None:
    """Stores what can change of a refund."""
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
