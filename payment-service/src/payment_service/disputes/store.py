"""Disputes in the database."""

from uuid import UUID

from sqlalchemy import bindparam, insert, select, update

from adlib.db import Query, Session, Transaction
from payment_service.disputes.model import Dispute, State
from payment_service.tables import disputes

_FIELDS = [
    disputes.c[name]
    for name in (
        "id", "provider", "external_id", "payment_id", "organization_id", "amount_micros", "frozen_micros",
        "currency_code", "state", "reason", "fee_micros", "created_at", "updated_at",
    )
]  # fmt: skip
_ADD = Query(insert(disputes).values(**{field.key: bindparam(field.key, type_=field.type) for field in _FIELDS}))
_HAS_OPEN = Query(
    select(disputes.c.id)
    .where(
        disputes.c.organization_id == bindparam("organization"),
        disputes.c.payment_id == bindparam("payment"),
        disputes.c.state == State.OPEN.value,
    )
    .limit(1)
)
# Provider reports carry no organization. Callers that change a dispute have locked its payment.
_BY_EXTERNAL_ID_ANY_TENANT = Query(
    select(*_FIELDS).where(
        disputes.c.provider == bindparam("of_provider"), disputes.c.external_id == bindparam("known")
    )
)
_UPDATE = Query(
    update(disputes)
    .where(disputes.c.organization_id == bindparam("organization"), disputes.c.id == bindparam("dispute"))
    .values(
        state=bindparam("to_state"), reason=bindparam("because"), fee_micros=bindparam("fee"),
        updated_at=bindparam("at"),
    )
)  # fmt: skip


def add(tx: Transaction, dispute: Dispute) -> None:
    """Stores a new dispute."""
    tx.execute(_ADD, **{field.key: getattr(dispute, field.key) for field in _FIELDS})


def get_by_external_id_any_tenant(db: Session, provider: str, external_id: str) -> Dispute | None:
    """The dispute with the provider's id."""
    row = db.one(_BY_EXTERNAL_ID_ANY_TENANT, of_provider=provider, known=external_id)
    return Dispute(**{**row._asdict(), "state": State(row.state)}) if row else None


def has_open(db: Session, organization_id: UUID, payment_id: UUID) -> bool:
    """Whether the organization's payment has an undecided dispute."""
    return db.one(_HAS_OPEN, organization=organization_id, payment=payment_id) is not None


def save(tx: Transaction, dispute: Dispute) -> None:
    """Updates the dispute's mutable columns."""
    tx.execute(
        _UPDATE,
        organization=dispute.organization_id,
        dispute=dispute.id,
        to_state=dispute.state.value,
        because=dispute.reason,
        fee=dispute.fee_micros,
        at=dispute.updated_at,
    )
