"""Holding, releasing and spending campaigns' money, and what everybody has."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from adplatform.payment.v1 import payment_pb2 as pb

from adlib.db import Database
from adlib.idempotency import Once
from adlib.ids import NewId, first_at
from adlib.money import currency
from adlib.paging import Page, Slice, cut
from payment_service.ledger import store
from payment_service.ledger.model import (
    Balance,
    Books,
    Escrow,
    Hold,
    InsufficientFunds,
    Line,
    PublisherBalance,
    Spend,
    Transfer,
)


@dataclass(frozen=True, slots=True)
class SpendResult:
    """What became of one item: what was taken, and what the escrow holds now."""

    key: str
    posted_micros: int
    held_micros: int


class LedgerService:
    """The use cases of the ledger."""

    def __init__(self, db: Database, ids: NewId) -> None:
        self._db = db
        self._ids = ids

    def hold(self, escrow: Escrow, amount_micros: int, key: str, once: Once[int, pb.HoldBudgetResponse]) -> int:
        """Moves the amount from the wallet into the escrow; what the escrow holds then. A repeat moves nothing.

        INSUFFICIENT_FUNDS.
        """
        currency(escrow.currency_code)
        with self._db.transaction() as tx:
            repeated = once.replay(tx) is not None
            balances = store.lock(tx, [escrow.wallet, escrow.account])
            held_micros = balances[escrow.account]
            if repeated:
                return held_micros
            if balances[escrow.wallet] < amount_micros:
                raise InsufficientFunds(balances[escrow.wallet], amount_micros, escrow.currency_code)
            store.post(tx, [escrow.hold(amount_micros, key)], self._ids)
            once.record(tx, held_micros + amount_micros)
            return held_micros + amount_micros

    def release(self, escrow: Escrow, key: str, once: Once[int, pb.ReleaseHoldResponse]) -> pb.ReleaseHoldResponse:
        """Moves what the escrow holds back into the wallet; how much that was. A repeat moves nothing."""
        currency(escrow.currency_code)
        with self._db.transaction() as tx:
            if (seen := once.replay(tx)) is not None:
                return seen
            held_micros = store.lock(tx, [escrow.wallet, escrow.account])[escrow.account]
            if held_micros:
                store.post(tx, [escrow.release(held_micros, key)], self._ids)
            return once.record(tx, held_micros)

    def spend(self, items: Sequence[Spend]) -> Sequence[SpendResult]:
        """Takes each item, or as much of it as its escrow holds. A repeated key posts nothing and says what was."""
        for code in {item.escrow.currency_code for item in items}:
            currency(code)
        with self._db.transaction() as tx:
            held = dict(store.lock(tx, {account for item in items for account in item.accounts}))
            posted = store.posted_before(tx, items)
            transfers: list[Transfer] = []
            fresh: list[tuple[Spend, int]] = []
            for item in items:
                escrow = item.escrow.account
                if (escrow.id, item.key) in posted:
                    continue
                amount_micros = min(item.amount_micros, held[escrow])
                held[escrow] -= amount_micros
                posted[escrow.id, item.key] = amount_micros
                transfers += item.transfers(amount_micros)
                fresh.append((item, amount_micros))
            store.post(tx, transfers, self._ids)
            store.add_spends(tx, fresh)
        return [
            SpendResult(item.key, posted[item.escrow.account.id, item.key], held[item.escrow.account]) for item in items
        ]

    def balance(self, organization_id: UUID, currency_code: str) -> Balance:
        """What the organization has in a currency, USD unless given; CURRENCY_UNSUPPORTED."""
        return store.balance(self._db, organization_id, currency(currency_code))

    def statement(
        self, organization_id: UUID, currency_code: str, part: Page, start: datetime | None, end: datetime | None
    ) -> Slice[Line]:
        """What changed the organization's balance from `start` to before `end`, newest first; CURRENCY_UNSUPPORTED."""
        since = first_at(start) if start else UUID(int=0)
        before = min(part.before, first_at(end)) if end else part.before
        rows = store.statement(self._db, organization_id, currency(currency_code), since, before, part.limit)
        return cut(rows, part, lambda line: line.id)

    def publisher_balances(self, publisher_ids: Collection[UUID]) -> Sequence[PublisherBalance]:
        """What these publishers have, a row a currency."""
        return store.of_publishers(self._db, publisher_ids)

    def holds(self, part: Page) -> Slice[Hold]:
        """The escrows that hold something, of all organizations."""
        return cut(store.holds_of_anyone(self._db, part), part, lambda hold: hold.id)

    def verify(self) -> Sequence[Books]:
        """What the books add up to when every balance is derived anew."""
        return store.verify(self._db)
