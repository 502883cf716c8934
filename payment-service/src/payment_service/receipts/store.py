"""Receipts in the database."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, bindparam, func, insert, or_, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from adlib.db import Query, Session, Transaction
from payment_service.payments.model import PaymentNotFound, PaymentStateInvalid, State
from payment_service.receipts.model import Receipt, ReceiptDeposit
from payment_service.tables import deposits, payments, receipt_counters, receipts

MAX_DEPOSITS = 50

_NUMBER = Query(
    select(receipts.c.number).where(
        receipts.c.organization_id == bindparam("organization"), receipts.c.payment_id == bindparam("payment")
    )
)
# The counter's row is locked until the transaction ends, so a rollback leaves no gap; only transactions of the same
# organization wait.
_NEXT = (
    insert_or(receipt_counters)
    .values(organization_id=bindparam("organization"), last_number=1)
    .on_conflict_do_update(
        index_elements=[receipt_counters.c.organization_id],
        set_={"last_number": receipt_counters.c.last_number + 1},
    )
    .returning(receipt_counters.c.organization_id, receipt_counters.c.last_number)
    .cte()
)
_ISSUE = Query(
    insert(receipts)
    .from_select(
        ["organization_id", "number", "payment_id", "issued_at"],
        select(
            _NEXT.c.organization_id,
            _NEXT.c.last_number,
            bindparam("payment", type_=receipts.c.payment_id.type),
            bindparam("at", type_=receipts.c.issued_at.type),
        ),
    )
    .returning(receipts.c.number)
)
# One statement, so that the payment and its deposits are from the same snapshot.
_GET = Query(
    select(
        *(payments.c[name] for name in ("organization_id", "provider", "state", "currency_code")),
        *(payments.c[name] for name in ("paid_micros", "refunded_micros", "disputed_micros", "instructions")),
        receipts.c.number,
        receipts.c.issued_at,
        func.count(deposits.c.id).over().label("deposit_count"),
        *(deposits.c[name] for name in ("asset", "asset_amount", "rate", "detail")),
        deposits.c.state.label("deposit_state"),
        deposits.c.amount_micros.label("deposit_micros"),
        deposits.c.created_at.label("deposited_at"),
    )
    .select_from(
        payments.outerjoin(
            receipts,
            and_(receipts.c.organization_id == payments.c.organization_id, receipts.c.payment_id == payments.c.id),
        ).outerjoin(
            deposits,
            and_(
                deposits.c.organization_id == payments.c.organization_id,
                deposits.c.payment_id == payments.c.id,
                or_(deposits.c.state == "CREDITED", deposits.c.state == "REVERSED"),
            ),
        )
    )
    .where(payments.c.organization_id == bindparam("organization"), payments.c.id == bindparam("payment"))
    .order_by(deposits.c.id.desc())
    .limit(MAX_DEPOSITS)
)


def issue(tx: Transaction, organization_id: UUID, payment_id: UUID, at: datetime) -> int:
    """Issues the payment's receipt, unless it has one, and returns its number.

    To be called last in the transaction, with the payment locked: it blocks other receipts of the organization.
    """
    found = tx.one(_NUMBER, organization=organization_id, payment=payment_id) or tx.one(
        _ISSUE, organization=organization_id, payment=payment_id, at=at
    )
    return int(found.number) if found else 0


def get(db: Session, organization_id: UUID, payment_id: UUID) -> Receipt:
    """The receipt of the organization's payment; PAYMENT_NOT_FOUND, PAYMENT_STATE_INVALID."""
    rows = db.all(_GET, organization=organization_id, payment=payment_id)
    if not rows:
        raise PaymentNotFound(payment_id)
    first = rows[0]
    if first.number is None:
        raise PaymentStateInvalid(payment_id, State(first.state), "receipted")
    return Receipt(
        organization_id=first.organization_id,
        number=first.number,
        issued_at=first.issued_at,
        payment_id=payment_id,
        provider=first.provider,
        currency_code=first.currency_code,
        paid_micros=first.paid_micros,
        refunded_micros=first.refunded_micros,
        disputed_micros=first.disputed_micros,
        instructions=first.instructions,
        deposits=[
            ReceiptDeposit(
                at=row.deposited_at,
                amount_micros=row.deposit_micros,
                is_reversed=row.deposit_state == "REVERSED",
                asset=row.asset,
                asset_amount=None if row.asset_amount is None else int(row.asset_amount),
                rate=row.rate,
                detail=row.detail,
            )
            for row in rows
            if row.deposited_at is not None
        ],
        deposit_count=first.deposit_count,
    )
