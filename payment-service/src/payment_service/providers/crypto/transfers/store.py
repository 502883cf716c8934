"""Transfers to deposit addresses, and the transactions of refunds, in the database."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import bindparam, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Session, Transaction
from adlib.db.database import Row
from payment_service.providers.crypto.transfers.model import Stage, Transfer
from payment_service.tables import crypto_addresses, crypto_refunds, crypto_transfers

_add = insert(crypto_transfers).values(
    **{column.key: bindparam(column.key, type_=column.type) for column in crypto_transfers.c}
)
_ADD = Query(
    # An orphaned block may return to the chain.
    _add.on_conflict_do_update(
        index_elements=["key"],
        set_={"state": Stage.NEW.value},
        where=or_(*(crypto_transfers.c.state == stage.value for stage in (Stage.ORPHANED, Stage.REVERSED))),
    )
)
_ORPHAN = Query(
    update(crypto_transfers)
    .where(
        crypto_transfers.c.chain_id == bindparam("chain"),
        crypto_transfers.c.block_number > bindparam("after"),
        text("state IN ('NEW', 'SEEN', 'CREDITED')"),
    )
    .values(state=Stage.ORPHANED.value)
)
_UNBOOKED = Query(
    select(crypto_transfers)
    .where(
        crypto_transfers.c.chain_id == bindparam("chain"),
        text("state IN ('NEW', 'SEEN', 'ORPHANED')"),  # spelled as in the index, so that it is used
        crypto_transfers.c.key > bindparam("after"),
    )
    .order_by(crypto_transfers.c.key)
    .limit(bindparam("most"))
)
_LOCK = Query(select(crypto_transfers).where(crypto_transfers.c.key == bindparam("of_key")).with_for_update())
_SAVE = Query(
    update(crypto_transfers)
    .where(crypto_transfers.c.key == bindparam("of_key"))
    .values(state=bindparam("to_state"), shown_confirmations=bindparam("confirmations"))
)
_UNCONFIRMED = Query(
    select(func.count().label("count"))
    .select_from(
        crypto_transfers.join(crypto_addresses, crypto_addresses.c.payment_id == crypto_transfers.c.payment_id)
    )
    .where(
        crypto_addresses.c.organization_id == bindparam("organization"),
        crypto_transfers.c.payment_id == bindparam("payment"),
        text("state IN ('NEW', 'SEEN')"),
    )
)
_CLAIM = Query(
    insert(crypto_refunds)
    .values(
        chain_id=bindparam("chain"), transaction_hash=bindparam("hash"), refund_id=bindparam("refund"),
        block_number=bindparam("block"),
    )
    .on_conflict_do_nothing()
)  # fmt: skip
_CLAIMED = Query(
    select(crypto_refunds.c.refund_id, crypto_refunds.c.block_number).where(
        crypto_refunds.c.chain_id == bindparam("chain"), crypto_refunds.c.transaction_hash == bindparam("hash")
    )
)


def add(tx: Transaction, transfers: Sequence[Transfer]) -> None:
    """Stores new transfers; known ones are unchanged, except that an orphaned one becomes NEW."""
    rows = [{column.key: getattr(one, column.key) for column in crypto_transfers.c} for one in transfers]
    tx.execute_many(_ADD, [{**row, "state": str(row["state"])} for row in rows])


def orphan(tx: Transaction, chain_id: int, after: int) -> int:
    """Marks the transfers in blocks after `after` as orphaned; returns how many."""
    return tx.execute(_ORPHAN, chain=chain_id, after=after)


def unbooked(db: Session, chain_id: int, after: str, limit: int) -> Sequence[Transfer]:
    """Transfers whose booking is not finished, by key."""
    return [_transfer(row) for row in db.all(_UNBOOKED, chain=chain_id, after=after, most=limit)]


def lock(tx: Transaction, key: str) -> Transfer | None:
    """The transfer with the key, locked; None if there is none."""
    row = tx.one(_LOCK, of_key=key)
    return _transfer(row) if row else None


def save(tx: Transaction, key: str, state: Stage, confirmations: int) -> None:
    """Stores the state of the transfer's booking, and the confirmations shown to the customer."""
    tx.execute(_SAVE, of_key=key, to_state=state.value, confirmations=confirmations)


def has_unconfirmed(db: Session, organization_id: UUID, payment_id: UUID) -> bool:
    """Whether a transfer to the payment waits for confirmations."""
    row = db.one(_UNCONFIRMED, organization=organization_id, payment=payment_id)
    return bool(row and row.count)


def claim(tx: Transaction, chain_id: int, transaction_hash: str, refund_id: UUID, block_number: int | None) -> bool:
    """Assigns the chain's transaction to the refund; False if it belongs to another refund."""
    tx.execute(_CLAIM, chain=chain_id, hash=transaction_hash, refund=refund_id, block=block_number)
    row = tx.one(_CLAIMED, chain=chain_id, hash=transaction_hash)
    return bool(row and row.refund_id == refund_id)


def is_claimed(db: Session, chain_id: int, transaction_hash: str) -> bool:
    """Whether the chain's transaction belongs to a refund."""
    return db.one(_CLAIMED, chain=chain_id, hash=transaction_hash) is not None


def refund_block(db: Session, chain_id: int, transaction_hash: str) -> int:
    """The block of a refund's transaction when the refund was booked; 0 if that was not stored."""
    row = db.one(_CLAIMED, chain=chain_id, hash=transaction_hash)
    return (row and row.block_number) or 0


def _transfer(row: Row) -> Transfer:
    return Transfer(**{**row._asdict(), "amount": int(row.amount), "state": Stage(row.state)})
