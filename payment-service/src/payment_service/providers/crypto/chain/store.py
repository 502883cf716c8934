"""The read position of each chain, and the hashes of its last blocks, in the database."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import and_, bindparam, delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Session, Transaction
from adlib.db.database import Row
from adlib.errors import Aborted
from payment_service.providers.crypto.model import Position
from payment_service.tables import crypto_blocks, crypto_chains

_OF_CHAIN = crypto_chains.c.chain_id == bindparam("chain")
_IS_LAST_READ = and_(
    crypto_blocks.c.chain_id == crypto_chains.c.chain_id, crypto_blocks.c.number == crypto_chains.c.read_number
)
_POSITION = (
    select(crypto_chains, crypto_blocks.c.hash)
    .select_from(crypto_chains.outerjoin(crypto_blocks, _IS_LAST_READ))
    .where(_OF_CHAIN)
)
_GET_POSITION = Query(_POSITION)
_LOCK_POSITION = Query(_POSITION.with_for_update(of=crypto_chains))
_ADD = Query(
    insert(crypto_chains)
    .values(
        chain_id=bindparam("chain"), read_number=bindparam("number"), confirmed_number=bindparam("number"),
        halted_reason="", updated_at=bindparam("at"),
    )
    .on_conflict_do_nothing(index_elements=["chain_id"])
)  # fmt: skip
_MOVE = Query(
    update(crypto_chains)
    .where(_OF_CHAIN)
    .values(read_number=bindparam("number"), confirmed_number=bindparam("confirmed"), updated_at=bindparam("at"))
)
_HALT = Query(update(crypto_chains).where(_OF_CHAIN).values(halted_reason=bindparam("why"), updated_at=bindparam("at")))
_SAVE_CURRENT = Query(
    update(crypto_chains).where(_OF_CHAIN).values(current_at=bindparam("at"), head_at=bindparam("head"), fault="")
)
_SAVE_FAULT = Query(
    update(crypto_chains)
    .where(_OF_CHAIN, crypto_chains.c.halted_reason == "", crypto_chains.c.fault != bindparam("why"))
    .values(fault=bindparam("why"))
)
_ADD_BLOCK = Query(
    insert(crypto_blocks)
    .values(chain_id=bindparam("chain"), number=bindparam("number"), hash=bindparam("hash"))
    .on_conflict_do_nothing()
)
_BLOCKS = Query(
    select(crypto_blocks.c.number, crypto_blocks.c.hash)
    .where(
        crypto_blocks.c.chain_id == bindparam("chain"),
        crypto_blocks.c.number >= bindparam("first"),
        crypto_blocks.c.number <= bindparam("last"),
    )
    .order_by(crypto_blocks.c.number.desc())
    .limit(bindparam("most"))
)
_DELETE_BLOCKS = Query(
    delete(crypto_blocks).where(
        crypto_blocks.c.chain_id == bindparam("chain"),
        or_(crypto_blocks.c.number < bindparam("before"), crypto_blocks.c.number > bindparam("after")),
    )
)


def position(db: Session, chain_id: int) -> Position | None:
    """The position up to which the chain was read; None if it was never read."""
    return _position(db.one(_GET_POSITION, chain=chain_id))


def lock_position(tx: Transaction, chain_id: int) -> Position | None:
    """The position up to which the chain was read, locked."""
    return _position(tx.one(_LOCK_POSITION, chain=chain_id))


def lock_at(tx: Transaction, chain_id: int, expected: Position) -> None:
    """Locks the chain; ABORTED if another watcher has moved it from the expected position."""
    if lock_position(tx, chain_id) != expected:
        raise Aborted("another watcher has read the chain in the meantime; try again")


def add(tx: Transaction, chain_id: int, number: int, at: datetime) -> None:
    """Stores the chain's first position unless it has one."""
    tx.execute(_ADD, chain=chain_id, number=number, at=at)


def save_position(tx: Transaction, chain_id: int, number: int, confirmed: int, at: datetime) -> None:
    """Stores the locked chain's new position."""
    tx.execute(_MOVE, chain=chain_id, number=number, confirmed=confirmed, at=at)


def halt(tx: Transaction, chain_id: int, why: str, at: datetime) -> None:
    """Stops reading the chain until an operator has checked it."""
    tx.execute(_HALT, chain=chain_id, why=why, at=at)


def save_current(tx: Transaction, chain_id: int, head_at: datetime | None, at: datetime) -> None:
    """Stores that the chain was read up to its node's newest block, which was made at `head_at`."""
    tx.execute(_SAVE_CURRENT, chain=chain_id, head=head_at, at=at)


def save_fault(tx: Transaction, chain_id: int, why: str) -> None:
    """Stores why an attempt to read the chain ended early; does nothing if the chain is halted."""
    tx.execute(_SAVE_FAULT, chain=chain_id, why=why)


def add_blocks(tx: Transaction, chain_id: int, hashes: Mapping[int, str]) -> None:
    """Stores the hashes of blocks."""
    tx.execute_many(_ADD_BLOCK, [{"chain": chain_id, "number": one, "hash": hash} for one, hash in hashes.items()])


def blocks(db: Session, chain_id: int, first: int, last: int, limit: int) -> Mapping[int, str]:
    """The stored hashes between the two numbers, the last `limit` of them."""
    return {row.number: row.hash for row in db.all(_BLOCKS, chain=chain_id, first=first, last=last, most=limit)}


def delete_blocks(tx: Transaction, chain_id: int, before: int, after: int) -> None:
    """Deletes the hashes of blocks before `before` and after `after`."""
    tx.execute(_DELETE_BLOCKS, chain=chain_id, before=before, after=after)


def _position(row: Row | None) -> Position | None:
    return row and Position(
        row.read_number, row.confirmed_number, row.halted_reason, row.hash or "", row.current_at, row.head_at, row.fault
    )
