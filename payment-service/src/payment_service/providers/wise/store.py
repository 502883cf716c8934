"""References of bank transfers in the database."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Session, Transaction
from payment_service.tables import bank_references, payouts

_ADD = Query(
    insert(bank_references)
    .values(
        reference=bindparam("reference"), payment_id=bindparam("payment_id"),
        organization_id=bindparam("organization_id"), created_at=bindparam("at"),
    )
    .on_conflict_do_nothing()
)  # fmt: skip
_GET = Query(
    select(bank_references.c.reference).where(
        bank_references.c.organization_id == bindparam("organization"),
        bank_references.c.payment_id == bindparam("payment"),
    )
)
# Banks know nothing of organizations.
_PAYMENT_OF_ANYONE = Query(
    select(bank_references.c.payment_id).where(bank_references.c.reference == bindparam("of_reference"))
)
_PAYOUT_OF_ANYONE = Query(select(payouts.c.id).where(payouts.c.transfer_id == bindparam("transfer")).limit(1))


def add(tx: Transaction, reference: str, payment_id: UUID, organization_id: UUID, at: datetime) -> None:
    """Makes it the payment's, unless the payment has one or it is another's."""
    tx.execute(_ADD, reference=reference, payment_id=payment_id, organization_id=organization_id, at=at)


def get(db: Session, organization_id: UUID, payment_id: UUID) -> str | None:
    """The payment's reference."""
    row = db.one(_GET, organization=organization_id, payment=payment_id)
    return row.reference if row else None


def payment_of_anyone(db: Session, reference: str) -> UUID | None:
    """The payment with the reference."""
    row = db.one(_PAYMENT_OF_ANYONE, of_reference=reference)
    return row.payment_id if row else None


def is_payout_of_anyone(db: Session, transfer_id: str) -> bool:
    """Whether the transfer is a payout's."""
    return db.one(_PAYOUT_OF_ANYONE, transfer=transfer_id) is not None
