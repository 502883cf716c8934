"""Addresses, how far chains were read, and what was seen on them, in the database.

A chain knows payments only by their addresses, so what is read from it is of anyone.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    MetaData,
    Numeric,
    Table,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    delete,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from adlib.db import Query, Session, Transaction
from adlib.db.database import Row

_metadata = MetaData()
_time = DateTime(timezone=True)

_addresses = Table(
    "crypto_addresses", _metadata,
    Column("payment_id", Uuid), Column("organization_id", Uuid), Column("number", BigInteger), Column("address", Text),
    Column("chain_id", BigInteger), Column("coin", Text), Column("currency_code", Text), Column("rate", Numeric),
    Column("expires_at", _time), Column("created_at", _time), Column("made_number", BigInteger),
    Column("searched_number", BigInteger),
)  # fmt: skip
_chains = Table(
    "crypto_chains", _metadata,
    Column("chain_id", BigInteger), Column("read_number", BigInteger), Column("confirmed_number", BigInteger),
    Column("halted_reason", Text), Column("updated_at", _time), Column("current_at", _time), Column("head_at", _time),
    Column("fault", Text),
)  # fmt: skip
_blocks = Table(
    "crypto_blocks", _metadata, Column("chain_id", BigInteger), Column("number", BigInteger), Column("hash", Text)
)
_transfers = Table(
    "crypto_transfers", _metadata,
    Column("key", Text), Column("chain_id", BigInteger), Column("block_number", BigInteger),
    Column("transaction_hash", Text), Column("payment_id", Uuid), Column("address", Text), Column("coin", Text),
    Column("amount", Numeric), Column("rate", Numeric), Column("currency_code", Text),
    Column("amount_micros", BigInteger), Column("state", Text), Column("shown_confirmations", BigInteger),
    Column("seen_at", _time),
)  # fmt: skip
_refunds = Table(
    "crypto_refunds", _metadata,
    Column("chain_id", BigInteger), Column("transaction_hash", Text), Column("refund_id", Uuid),
    Column("block_number", BigInteger),
)  # fmt: skip


class Stage(StrEnum):
    """How far what was seen on a chain is booked."""

    NEW = "NEW"
    SEEN = "SEEN"
    CREDITED = "CREDITED"
    ORPHANED = "ORPHANED"
    FORGOTTEN = "FORGOTTEN"


@dataclass(frozen=True, slots=True)
class Address:
    """A payment's deposit address, and what the customer was told of it. The address is in small letters.

    `made_number`: how far its chain was read then. `searched_number`: how far a search that did not end has come.
    """

    payment_id: UUID
    organization_id: UUID
    number: int
    address: str
    chain_id: int
    coin: str
    currency_code: str
    rate: Decimal
    expires_at: datetime
    created_at: datetime
    made_number: int | None = None
    searched_number: int | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """How far a chain was read, and once more with all its confirmations; the hash is the last block's."""

    read_number: int
    confirmed_number: int
    halted_reason: str = ""
    hash: str = ""
    # How the reading goes, which does not make it another position.
    current_at: datetime | None = field(default=None, compare=False)
    head_at: datetime | None = field(default=None, compare=False)
    fault: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Transfer:
    """What was sent to an address of ours, in the coin's smallest unit, and what it is worth."""

    key: str
    chain_id: int
    block_number: int
    transaction_hash: str
    payment_id: UUID
    address: str
    coin: str
    amount: int
    rate: Decimal
    currency_code: str
    amount_micros: int
    seen_at: datetime
    state: Stage = Stage.NEW
    shown_confirmations: int = 0


_NEXT_NUMBER = Query(text("SELECT nextval('crypto_address_number') AS number"))
_ADD_ADDRESS = Query(
    insert(_addresses)
    .values(**{column.key: bindparam(column.key) for column in _addresses.c})
    .on_conflict_do_nothing(index_elements=["payment_id"])
)
_ADDRESS = Query(
    select(_addresses).where(
        _addresses.c.organization_id == bindparam("organization"), _addresses.c.payment_id == bindparam("payment")
    )
)
_AT_OF_ANYONE = Query(select(_addresses).where(_addresses.c.address == any_(bindparam("wanted", type_=ARRAY(Text)))))
_SEARCHED = Query(
    update(_addresses)
    .where(_addresses.c.organization_id == bindparam("organization"), _addresses.c.payment_id == bindparam("payment"))
    .values(searched_number=bindparam("searched"))
)
_OF_CHAIN = _chains.c.chain_id == bindparam("chain")
_POSITION = select(_chains, _blocks.c.hash).select_from(
    _chains.outerjoin(
        _blocks, and_(_blocks.c.chain_id == _chains.c.chain_id, _blocks.c.number == _chains.c.read_number)
    )
).where(_OF_CHAIN)  # fmt: skip
_GET_POSITION = Query(_POSITION)
_LOCK_POSITION = Query(_POSITION.with_for_update(of=_chains))
_BEGIN = Query(
    insert(_chains)
    .values(
        chain_id=bindparam("chain"), read_number=bindparam("number"), confirmed_number=bindparam("number"),
        halted_reason="", updated_at=bindparam("at"),
    )
    .on_conflict_do_nothing(index_elements=["chain_id"])
)  # fmt: skip
_MOVE = Query(
    update(_chains)
    .where(_OF_CHAIN)
    .values(read_number=bindparam("number"), confirmed_number=bindparam("confirmed"), updated_at=bindparam("at"))
)
_HALT = Query(update(_chains).where(_OF_CHAIN).values(halted_reason=bindparam("why"), updated_at=bindparam("at")))
_CURRENT = Query(
    update(_chains).where(_OF_CHAIN).values(current_at=bindparam("at"), head_at=bindparam("head"), fault="")
)
_FAULT = Query(
    update(_chains)
    .where(_OF_CHAIN, _chains.c.halted_reason == "", _chains.c.fault != bindparam("why"))
    .values(fault=bindparam("why"))
)
_ADD_BLOCK = Query(
    insert(_blocks)
    .values(chain_id=bindparam("chain"), number=bindparam("number"), hash=bindparam("hash"))
    .on_conflict_do_nothing()
)
_BLOCKS = Query(
    select(_blocks.c.number, _blocks.c.hash)
    .where(
        _blocks.c.chain_id == bindparam("chain"),
        _blocks.c.number >= bindparam("first"),
        _blocks.c.number <= bindparam("last"),
    )
    .order_by(_blocks.c.number.desc())
    .limit(bindparam("most"))
)
_FORGET_BLOCKS = Query(
    delete(_blocks).where(
        _blocks.c.chain_id == bindparam("chain"),
        or_(_blocks.c.number < bindparam("before"), _blocks.c.number > bindparam("after")),
    )
)
_add_transfer = insert(_transfers).values(
    **{column.key: bindparam(column.key, type_=column.type) for column in _transfers.c}
)
_ADD_TRANSFER = Query(
    # A block that was orphaned may become the chain's again.
    _add_transfer.on_conflict_do_update(
        index_elements=["key"],
        set_={"state": Stage.NEW.value},
        where=text("crypto_transfers.state IN ('ORPHANED', 'FORGOTTEN')"),
    )
)
_ORPHAN = Query(
    update(_transfers)
    .where(
        _transfers.c.chain_id == bindparam("chain"),
        _transfers.c.block_number > bindparam("after"),
        text("state IN ('NEW', 'SEEN', 'CREDITED')"),
    )
    .values(state=Stage.ORPHANED.value)
)
_OPEN_OF_ANYONE = Query(
    select(_transfers)
    .where(
        _transfers.c.chain_id == bindparam("chain"),
        text("state IN ('NEW', 'SEEN', 'ORPHANED')"),  # as the index says it, so that it is used
        _transfers.c.key > bindparam("after"),
    )
    .order_by(_transfers.c.key)
    .limit(bindparam("most"))
)
_LOCK_TRANSFER_OF_ANYONE = Query(select(_transfers).where(_transfers.c.key == bindparam("of_key")).with_for_update())
_SAVE_TRANSFER = Query(
    update(_transfers)
    .where(_transfers.c.key == bindparam("of_key"))
    .values(state=bindparam("to_state"), shown_confirmations=bindparam("confirmations"))
)
_UNCONFIRMED = Query(
    select(func.count().label("count"))
    .select_from(_transfers.join(_addresses, _addresses.c.payment_id == _transfers.c.payment_id))
    .where(
        _addresses.c.organization_id == bindparam("organization"),
        _transfers.c.payment_id == bindparam("payment"),
        text("state IN ('NEW', 'SEEN')"),
    )
)
_CLAIM = Query(
    insert(_refunds)
    .values(
        chain_id=bindparam("chain"), transaction_hash=bindparam("hash"), refund_id=bindparam("refund"),
        block_number=bindparam("block"),
    )
    .on_conflict_do_nothing()
)  # fmt: skip
_CLAIMED = Query(
    select(_refunds.c.refund_id, _refunds.c.block_number).where(
        _refunds.c.chain_id == bindparam("chain"), _refunds.c.transaction_hash == bindparam("hash")
    )
)


def next_number(db: Session) -> int:
    """A number that no address was ever derived with."""
    row = db.one(_NEXT_NUMBER)
    if row is None:
        raise LookupError("a sequence has no next value")
    return int(row.number)


def add_address(tx: Transaction, address: Address) -> Address:
    """Stores the payment's address, unless it has one; the one that it has then."""
    tx.execute(_ADD_ADDRESS, **{column.key: getattr(address, column.key) for column in _addresses.c})
    found = get_address(tx, address.organization_id, address.payment_id)
    if found is None:
        raise LookupError("an address that was just stored is not there")
    return found


def get_address(db: Session, organization_id: UUID, payment_id: UUID) -> Address | None:
    """The payment's address."""
    row = db.one(_ADDRESS, organization=organization_id, payment=payment_id)
    return Address(**row._asdict()) if row else None


def searched(tx: Transaction, address: Address, number: int | None) -> None:
    """How far the search for what was sent there has come; None: it has ended."""
    tx.execute(_SEARCHED, organization=address.organization_id, payment=address.payment_id, searched=number)


def addresses_of_anyone(db: Session, wanted: Collection[str]) -> Mapping[str, Address]:
    """Those of the addresses that are ours."""
    rows = db.all(_AT_OF_ANYONE, wanted=list(wanted)) if wanted else []
    return {row.address: Address(**row._asdict()) for row in rows}


def position(db: Session, chain_id: int) -> Position | None:
    """How far the chain was read."""
    return _position(db.one(_GET_POSITION, chain=chain_id))


def lock_position(tx: Transaction, chain_id: int) -> Position | None:
    """How far the chain was read, for this transaction to change."""
    return _position(tx.one(_LOCK_POSITION, chain=chain_id))


def begin(tx: Transaction, chain_id: int, number: int, at: datetime) -> None:
    """The first position, unless there is one."""
    tx.execute(_BEGIN, chain=chain_id, number=number, at=at)


def move(tx: Transaction, chain_id: int, number: int, confirmed: int, at: datetime) -> None:
    """Another position, of the locked chain."""
    tx.execute(_MOVE, chain=chain_id, number=number, confirmed=confirmed, at=at)


def halt(tx: Transaction, chain_id: int, why: str, at: datetime) -> None:
    """Nothing more is read until somebody has looked."""
    tx.execute(_HALT, chain=chain_id, why=why, at=at)


def current(tx: Transaction, chain_id: int, head_at: datetime | None, at: datetime) -> None:
    """The chain was read up to its node's newest block, of that time."""
    tx.execute(_CURRENT, chain=chain_id, head=head_at, at=at)


def fault(tx: Transaction, chain_id: int, why: str) -> None:
    """An attempt to read the chain ended early; of a halted chain more is known."""
    tx.execute(_FAULT, chain=chain_id, why=why)


def add_blocks(tx: Transaction, chain_id: int, hashes: Mapping[int, str]) -> None:
    """The hashes of blocks that were read."""
    tx.execute_many(_ADD_BLOCK, [{"chain": chain_id, "number": one, "hash": hash} for one, hash in hashes.items()])


def blocks(db: Session, chain_id: int, first: int, last: int, limit: int) -> Mapping[int, str]:
    """The last hashes that are known between the two."""
    return {row.number: row.hash for row in db.all(_BLOCKS, chain=chain_id, first=first, last=last, most=limit)}


def forget_blocks(tx: Transaction, chain_id: int, before: int, after: int) -> None:
    """The hashes outside of the two."""
    tx.execute(_FORGET_BLOCKS, chain=chain_id, before=before, after=after)


def add_transfers(tx: Transaction, transfers: Sequence[Transfer]) -> None:
    """What was seen; what is known already stays as it is, unless its block was orphaned."""
    rows = [{column.key: getattr(one, column.key) for column in _transfers.c} for one in transfers]
    tx.execute_many(_ADD_TRANSFER, [{**row, "state": str(row["state"])} for row in rows])


def orphan(tx: Transaction, chain_id: int, after: int) -> int:
    """What was seen in later blocks than that has not happened; how many."""
    return tx.execute(_ORPHAN, chain=chain_id, after=after)


def open_of_anyone(db: Session, chain_id: int, after: str, limit: int) -> Sequence[Transfer]:
    """What is not booked to the end, by key."""
    return [_transfer(row) for row in db.all(_OPEN_OF_ANYONE, chain=chain_id, after=after, most=limit)]


def lock_of_anyone(tx: Transaction, key: str) -> Transfer | None:
    """What was seen under the key, for this transaction to book."""
    row = tx.one(_LOCK_TRANSFER_OF_ANYONE, of_key=key)
    return _transfer(row) if row else None


def save(tx: Transaction, key: str, state: Stage, confirmations: int) -> None:
    """How far it is booked."""
    tx.execute(_SAVE_TRANSFER, of_key=key, to_state=state.value, confirmations=confirmations)


def has_unconfirmed(db: Session, organization_id: UUID, payment_id: UUID) -> bool:
    """Whether something was sent to the payment that waits for confirmations."""
    row = db.one(_UNCONFIRMED, organization=organization_id, payment=payment_id)
    return bool(row and row.count)


def claim(tx: Transaction, chain_id: int, transaction_hash: str, refund_id: UUID, block_number: int | None) -> bool:
    """Whether the transaction serves this refund; it does not where it serves another one."""
    tx.execute(_CLAIM, chain=chain_id, hash=transaction_hash, refund=refund_id, block=block_number)
    row = tx.one(_CLAIMED, chain=chain_id, hash=transaction_hash)
    return bool(row and row.refund_id == refund_id)


def is_claimed(db: Session, chain_id: int, transaction_hash: str) -> bool:
    """Whether the transaction serves a refund."""
    return db.one(_CLAIMED, chain=chain_id, hash=transaction_hash) is not None


def refund_block(db: Session, chain_id: int, transaction_hash: str) -> int:
    """The block in which a refund's transaction was when it was believed; 0 where that is not known."""
    row = db.one(_CLAIMED, chain=chain_id, hash=transaction_hash)
    return (row and row.block_number) or 0


def _position(row: Row | None) -> Position | None:
    return row and Position(
        row.read_number, row.confirmed_number, row.halted_reason, row.hash or "", row.current_at, row.head_at, row.fault
    )


def _transfer(row: Row) -> Transfer:
    return Transfer(**{**row._asdict(), "amount": int(row.amount), "state": Stage(row.state)})
