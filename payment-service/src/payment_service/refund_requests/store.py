"""Refund requests in the database. The caller that opens, accepts or reopens one has locked its payment."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import bindparam, insert, select, text, update

from adlib.db import Query, Session, Transaction
from adlib.db.database import Row
from adlib.paging import Page
from payment_service.refund_requests.model import RefundRequest, State
from payment_service.tables import refund_requests

_MAX_PER_PAYMENT = 50

_FIELDS = [
    refund_requests.c[name]
    for name in (
        "id", "payment_id", "organization_id", "amount_micros", "currency_code", "state", "reason", "decline_reason",
        "refund_id", "asked_by", "created_at", "updated_at",
    )
]  # fmt: skip
_OWN = refund_requests.c.organization_id == bindparam("organization")
# Literal text, so that PostgreSQL uses the partial indexes.
_IS_OPEN = text("state = 'REQUESTED'")
_ADD = Query(insert(refund_requests).values(**{field.key: bindparam(field.key, type_=field.type) for field in _FIELDS}))
_OPEN = Query(
    select(*_FIELDS).where(_OWN, refund_requests.c.payment_id == bindparam("payment"), _IS_OPEN).with_for_update()
)
_OF_REFUND = Query(select(*_FIELDS).where(_OWN, refund_requests.c.refund_id == bindparam("refund")).with_for_update())
_OF_PAYMENT = Query(
    select(*_FIELDS)
    .where(_OWN, refund_requests.c.payment_id == bindparam("payment"))
    .order_by(refund_requests.c.id.desc())
    .limit(_MAX_PER_PAYMENT)
)
_LOCK = Query(select(*_FIELDS).where(_OWN, refund_requests.c.id == bindparam("request")).with_for_update())
# For staff, who handle the requests of all organizations.
_LOCK_ANY_TENANT = Query(select(*_FIELDS).where(refund_requests.c.id == bindparam("request")).with_for_update())
_OPEN_ANY_TENANT = Query(
    select(*_FIELDS)
    .where(_IS_OPEN, refund_requests.c.id < bindparam("before"))
    .order_by(refund_requests.c.id.desc())
    .limit(bindparam("most"))
)
_UPDATE = Query(
    update(refund_requests)
    .where(_OWN, refund_requests.c.id == bindparam("request"))
    .values(
        state=bindparam("to_state"), decline_reason=bindparam("because"), refund_id=bindparam("answer"),
        updated_at=bindparam("at"),
    )
)  # fmt: skip


def add(tx: Transaction, request: RefundRequest) -> None:
    """Stores a new request."""
    tx.execute(_ADD, **{field.key: getattr(request, field.key) for field in _FIELDS})


def lock_open(tx: Transaction, organization_id: UUID, payment_id: UUID) -> RefundRequest | None:
    """The open request for the organization's payment, locked."""
    return _request(tx.one(_OPEN, organization=organization_id, payment=payment_id))


def lock_of_refund(tx: Transaction, organization_id: UUID, refund_id: UUID) -> RefundRequest | None:
    """The request that the refund accepted, locked."""
    return _request(tx.one(_OF_REFUND, organization=organization_id, refund=refund_id))


def lock(tx: Transaction, organization_id: UUID, request_id: UUID) -> RefundRequest | None:
    """The organization's request, locked."""
    return _request(tx.one(_LOCK, organization=organization_id, request=request_id))


def lock_any_tenant(tx: Transaction, request_id: UUID) -> RefundRequest | None:
    """The request of any organization, locked."""
    return _request(tx.one(_LOCK_ANY_TENANT, request=request_id))


def of_payment(db: Session, organization_id: UUID, payment_id: UUID) -> Sequence[RefundRequest]:
    """The newest requests for the organization's payment, newest first."""
    rows = db.all(_OF_PAYMENT, organization=organization_id, payment=payment_id)
    return [found for row in rows if (found := _request(row))]


def open_any_tenant(db: Session, part: Page) -> Sequence[RefundRequest]:
    """The open requests of all organizations, newest first."""
    rows = db.all(_OPEN_ANY_TENANT, before=part.before, most=part.limit)
    return [found for row in rows if (found := _request(row))]


def save(tx: Transaction, request: RefundRequest) -> None:
    """Updates the request's mutable columns."""
    tx.execute(
        _UPDATE,
        organization=request.organization_id,
        request=request.id,
        to_state=request.state.value,
        because=request.decline_reason,
        answer=request.refund_id,
        at=request.updated_at,
    )


def _request(row: Row | None) -> RefundRequest | None:
    return RefundRequest(**{**row._asdict(), "state": State(row.state)}) if row else None
