"""Holds and spend items in the database."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import LargeBinary, bindparam, func, insert, select, text

from adlib.db import Query, Session, Transaction
from payment_service.holds.model import Escrow, Hold, PriorSpend, Spend
from payment_service.ledger.store import MICROS, TEXT, UUID_TYPE, ColumnTypes, rows_from_arrays
from payment_service.tables import accounts, spends, transfers

_REQUESTED = rows_from_arrays(escrow_id=UUID_TYPE, item_key=TEXT, transfer_key=TEXT, share_key=TEXT)
_SPEND_TRANSFER, _SHARE_TRANSFER = transfers.alias("taken"), transfers.alias("shared")
_POSTED_MICROS = func.coalesce(spends.c.posted_micros, _SPEND_TRANSFER.c.amount_micros).label("posted_micros")
_PRIOR = Query(
    select(
        _REQUESTED.c.escrow_id,
        _REQUESTED.c.item_key,
        func.coalesce(spends.c.asked_micros, _SPEND_TRANSFER.c.amount_micros).label("requested_micros"),
        _POSTED_MICROS,
        spends.c.content_hash,
        _SHARE_TRANSFER.c.credit_account_id.label("payable_id"),
        func.coalesce(_SHARE_TRANSFER.c.amount_micros, 0).label("shared_micros"),
    )
    .select_from(
        _REQUESTED.outerjoin(
            spends,
            (spends.c.escrow_id == _REQUESTED.c.escrow_id) & (spends.c.idempotency_key == _REQUESTED.c.item_key),
        )
        .outerjoin(_SPEND_TRANSFER, _SPEND_TRANSFER.c.idempotency_key == _REQUESTED.c.transfer_key)
        .outerjoin(_SHARE_TRANSFER, _SHARE_TRANSFER.c.idempotency_key == _REQUESTED.c.share_key)
    )
    .where(_POSTED_MICROS.is_not(None))
)
_SPENDS: ColumnTypes = {
    "escrow_id": UUID_TYPE, "idempotency_key": TEXT, "asked_micros": MICROS, "posted_micros": MICROS,
    "content_hash": LargeBinary(),
}  # fmt: skip
_ADD_SPENDS = Query(insert(spends).from_select(list(_SPENDS), select(*rows_from_arrays(**_SPENDS).c)))
_LIST_ANY_TENANT = Query(
    select(
        accounts.c.id, accounts.c.organization_id, accounts.c.subject, accounts.c.currency_code,
        accounts.c.balance_micros,
    )
    .where(
        # Literal text, so that PostgreSQL uses the partial index.
        text("kind = 'ESCROW'"),
        accounts.c.balance_micros > 0,
        accounts.c.id < bindparam("before", type_=UUID_TYPE),
    )
    .order_by(accounts.c.id.desc())
    .limit(bindparam("most"))
)  # fmt: skip


def prior_spends(tx: Transaction, items: Sequence[Spend]) -> dict[tuple[UUID, str], PriorSpend]:
    """The first item with each of these items' keys, by escrow and key; new keys are absent."""
    rows = tx.all(
        _PRIOR,
        escrow_id=[item.escrow.account.id for item in items],
        item_key=[item.key for item in items],
        transfer_key=[item.transfer_key for item in items],
        share_key=[item.share_key for item in items],
    )
    return {
        (row.escrow_id, row.item_key): PriorSpend(
            row.requested_micros, row.posted_micros, row.content_hash, row.payable_id, row.shared_micros
        )
        for row in rows
    }


def add_spends(tx: Transaction, results: Sequence[tuple[Spend, int]]) -> None:
    """Stores the amounts of items posted only in part; items posted in full are known by their transfers."""
    if results:
        tx.execute(
            _ADD_SPENDS,
            escrow_id=[item.escrow.account.id for item, _ in results],
            idempotency_key=[item.key for item, _ in results],
            asked_micros=[item.amount_micros for item, _ in results],
            posted_micros=[posted for _, posted in results],
            content_hash=[item.content_hash for item, _ in results],
        )


def list_any_tenant(db: Session, before: UUID, limit: int) -> Sequence[Hold]:
    """The escrows of all organizations that hold money and whose ids are below `before`."""
    return [
        Hold(row.id, Escrow(row.organization_id, UUID(row.subject), row.currency_code), row.balance_micros)
        for row in db.all(_LIST_ANY_TENANT, before=before, most=limit)
    ]
