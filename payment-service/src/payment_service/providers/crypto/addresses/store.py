"""Deposit addresses in the database."""

from collections.abc import Collection, Mapping
from uuid import UUID

from sqlalchemy import Text, any_, bindparam, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from adlib.db import Query, Session, Transaction
from payment_service.providers.crypto.addresses.model import Address
from payment_service.tables import crypto_addresses

_NEXT_NUMBER = Query(text("SELECT nextval('crypto_address_number') AS number"))
_ADD = Query(
    insert(crypto_addresses)
    .values(**{column.key: bindparam(column.key) for column in crypto_addresses.c})
    .on_conflict_do_nothing(index_elements=["payment_id"])
)
_GET = Query(
    select(crypto_addresses).where(
        crypto_addresses.c.organization_id == bindparam("organization"),
        crypto_addresses.c.payment_id == bindparam("payment"),
    )
)
_FIND_ANY_TENANT = Query(
    select(crypto_addresses).where(crypto_addresses.c.address == any_(bindparam("wanted", type_=ARRAY(Text))))
)
_SAVE_SEARCH = Query(
    update(crypto_addresses)
    .where(
        crypto_addresses.c.organization_id == bindparam("organization"),
        crypto_addresses.c.payment_id == bindparam("payment"),
    )
    .values(searched_number=bindparam("searched"))
)


def next_number(db: Session) -> int:
    """A number that no address was derived with before."""
    row = db.one(_NEXT_NUMBER)
    if row is None:
        raise LookupError("the sequence has no next value")
    return int(row.number)


def add(tx: Transaction, address: Address) -> Address:
    """Stores the payment's address unless it has one; returns the stored one."""
    tx.execute(_ADD, **{column.key: getattr(address, column.key) for column in crypto_addresses.c})
    found = get(tx, address.organization_id, address.payment_id)
    if found is None:
        raise LookupError("the address was not stored")
    return found


def get(db: Session, organization_id: UUID, payment_id: UUID) -> Address | None:
    """The payment's address; None if it has none."""
    row = db.one(_GET, organization=organization_id, payment=payment_id)
    return Address(**row._asdict()) if row else None


def save_search(tx: Transaction, address: Address, number: int | None) -> None:
    """Stores the last block that a search for the address has read; None: the search is finished."""
    tx.execute(_SAVE_SEARCH, organization=address.organization_id, payment=address.payment_id, searched=number)


def find_any_tenant(db: Session, wanted: Collection[str]) -> Mapping[str, Address]:
    """The deposit addresses among `wanted`, by address."""
    rows = db.all(_FIND_ANY_TENANT, wanted=list(wanted)) if wanted else []
    return {row.address: Address(**row._asdict()) for row in rows}
