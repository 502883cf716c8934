"""Payment references, and the transfers that refunds were sent with, in the database."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Session, Transaction
from payment_service.tables import bank_references, bank_refunds, payouts, refunds

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
# A bank does not know organizations, so a reference or transfer is looked up in all of them.
_PAYMENT_ANY_TENANT = Query(
    select(bank_references.c.payment_id).where(bank_references.c.reference == bindparam("of_reference"))
)
_PAYOUT_ANY_TENANT = Query(select(payouts.c.id).where(payouts.c.transfer_id == bindparam("transfer")).limit(1))
_CLAIM_ANY_TENANT = Query(
    insert(bank_refunds)
    .values(transfer_id=bindparam("transfer"), refund_id=bindparam("refund"))
    .on_conflict_do_nothing()
)
_CLAIMED_ANY_TENANT = Query(select(bank_refunds.c.refund_id).where(bank_refunds.c.transfer_id == bindparam("transfer")))

_REFUND_ANY_TENANT = Query(
    select(refunds.c.id, refunds.c.payment_id, refunds.c.amount_micros, refunds.c.pending_reason)
    .join_from(bank_refunds, refunds, refunds.c.id == bank_refunds.c.refund_id)
    .where(bank_refunds.c.transfer_id == bindparam("transfer"))
)


@dataclass(frozen=True, slots=True)
class TransferredRefund:
    """The refund that a transfer was sent for; in doubt while a bank may be returning the transfer."""

    refund_id: UUID
    payment_id: UUID
    amount_micros: int
    is_in_doubt: bool


def add(tx: Transaction, reference: str, payment_id: UUID, organization_id: UUID, at: datetime) -> None:
    """Stores the payment's reference, unless the payment has one or another payment has this one."""
    tx.execute(_ADD, reference=reference, payment_id=payment_id, organization_id=organization_id, at=at)


def get(db: Session, organization_id: UUID, payment_id: UUID) -> str | None:
    """The payment's reference; None if none was stored."""
    row = db.one(_GET, organization=organization_id, payment=payment_id)
    return row.reference if row else None


def payment_any_tenant(db: Session, reference: str) -> UUID | None:
    """The payment with the reference."""
    row = db.one(_PAYMENT_ANY_TENANT, of_reference=reference)
    return row.payment_id if row else None


def is_payout_any_tenant(db: Session, transfer_id: str) -> bool:
    """Whether the transfer was sent for a payout."""
    return db.one(_PAYOUT_ANY_TENANT, transfer=transfer_id) is not None


def is_claimed(db: Session, transfer_id: str) -> bool:
    """Whether the transfer was sent for a refund or a payout."""
    return is_payout_any_tenant(db, transfer_id) or db.one(_CLAIMED_ANY_TENANT, transfer=transfer_id) is not None


def refund_any_tenant(db: Session, transfer_id: str) -> TransferredRefund | None:
    """The refund that the transfer was sent for."""
    row = db.one(_REFUND_ANY_TENANT, transfer=transfer_id)
    return TransferredRefund(row.id, row.payment_id, row.amount_micros, bool(row.pending_reason)) if row else None


def claim_any_tenant(tx: Transaction, transfer_id: str, refund_id: UUID) -> bool:
    """Assigns the transfer to the refund; False if it belongs to another refund or to a payout."""
    if tx.one(_PAYOUT_ANY_TENANT, transfer=transfer_id):
        return False
    tx.execute(_CLAIM_ANY_TENANT, transfer=transfer_id, refund=refund_id)
    row = tx.one(_CLAIMED_ANY_TENANT, transfer=transfer_id)
    return row is not None and row.refund_id == refund_id
