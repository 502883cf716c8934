"""Transfers are booked by the stored state: the position of the chain, and whether their block is orphaned."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from adlib.db import Database
from adlib.ids import new_id
from payment_service.payments.model import IncomingFunds
from payment_service.providers.crypto.model import Chain, Position
from payment_service.providers.crypto.transfers import store
from payment_service.providers.crypto.transfers.model import Transfer
from payment_service.providers.crypto.transfers.service import TransferBooker

CHAIN = Chain(1, "Chain", "http://node", confirmations=4, coins=())


@dataclass
class Bookings:
    """Records the bookings; `knows_payment`: whether the transfer's payment exists."""

    knows_payment: bool = True
    calls: list[tuple[str, Any]] = field(default_factory=list)

    def settle_in(self, _tx, _payment_id: UUID, _provider: str, report) -> object:
        (funds,) = report.incoming
        self.calls.append(("settle", (funds.is_final, funds.detail["chain"]["confirmations"])))
        return object() if self.knows_payment else None

    def reverse_in(self, _tx, _provider: str, key: str, _recall=None) -> None:
        self.calls.append(("reverse", key))

    def suspend_in(self, _tx, _provider: str, funds: IncomingFunds) -> None:
        self.calls.append(("suspend", funds.key))


@dataclass
class Desk:
    """A booker without a node: a test moves the chain's position."""

    db: Database
    bookings: Bookings
    position: Position

    def book(self, read: int, confirmed: int) -> list[tuple[str, Any]]:
        """Books with the chain at this position; returns the bookings."""
        self.position = Position(read, confirmed)
        self.bookings.calls.clear()
        TransferBooker(CHAIN, self.db, self.bookings, lambda _: self.position).book_all(self.position)
        return list(self.bookings.calls)


@pytest.fixture
def desk(own_database_url: str) -> Iterator[Desk]:
    """A desk with one transfer in block 10."""
    db = Database(own_database_url, max_connections=2)
    transfer = Transfer(
        "k", 1, 10, "0xt", new_id(), "0xa", "USDC", 5_000_000, Decimal(1), "USD", 5_000_000, datetime.now(UTC)
    )
    with db.transaction() as tx:
        store.add(tx, [transfer])
    yield Desk(db, Bookings(), Position(0, 0))
    db.close()


def test_transfer_is_pending_until_it_is_confirmed_and_then_booked_once(desk: Desk) -> None:
    assert desk.book(10, 6) == [("settle", (False, 1))]
    assert desk.book(10, 6) == []
    assert desk.book(12, 8) == [("settle", (False, 3))]
    assert desk.book(13, 10) == [("settle", (True, 4))]
    assert desk.book(20, 17) == []


def test_orphaned_transfer_is_reversed_once(desk: Desk) -> None:
    desk.book(13, 10)
    with desk.db.transaction() as tx:
        assert store.orphan(tx, 1, after=9) == 1
    assert desk.book(9, 6) == [("reverse", "k")]
    assert desk.book(9, 6) == []


def test_confirmed_transfer_without_a_payment_is_suspended(desk: Desk) -> None:
    desk.bookings.knows_payment = False
    assert desk.book(10, 6) == [("settle", (False, 1))]
    assert desk.book(13, 10) == [("settle", (True, 4)), ("suspend", "k")]
