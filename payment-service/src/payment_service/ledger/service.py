"""Holding, releasing and spending campaigns' money, and what everybody has."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from adplatform.payment.v1 import payment_pb2 as pb

from adlib.clock import Clock, SystemClock
from adlib.db import Database, Transaction
from adlib.idempotency import Idempotency, KeyReused
from adlib.ids import NewId, min_id_at
from adlib.money import currency
from adlib.paging import Page, Slice, cut
from adlib.telemetry import logger
from payment_service.ledger import store
from payment_service.ledger.books import store as books
from payment_service.ledger.model import (
    Answered,
    Balance,
    Books,
    Escrow,
    Hold,
    InsufficientFunds,
    Line,
    OrganizationInDebt,
    Outcome,
    PublisherBalance,
    Spend,
    Transfer,
)
from payment_service.ledger.wallet import Wallet

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class SpendResult:
    """What became of one item: what was taken, and what the escrow holds now.

    Refused: the key was used before with another amount or publisher, whose item posted `first_posted_micros`.
    """

    key: str
    posted_micros: int
    held_micros: int
    is_refused: bool = False
    first_posted_micros: int = 0


class LedgerService:
    """The use cases of the ledger."""

    def __init__(self, db: Database, ids: NewId, clock: Clock | None = None) -> None:
        self._db = db
        self._ids = ids
        self._clock = clock or SystemClock()

    def hold(self, escrow: Escrow, amount_micros: int, key: str) -> int:
        """Moves the amount from the wallet into the escrow; what the escrow holds then. A repeat moves nothing.

        An amount of 0 only asks. ORGANIZATION_IN_DEBT, INSUFFICIENT_FUNDS, IDEMPOTENCY_KEY_REUSED.
        """
        currency(escrow.currency_code)
        debt = Wallet(escrow.organization_id, escrow.currency_code).debt
        with self._db.transaction() as tx:
            outcome = Outcome.POSTED
            if amount_micros:
                (outcome,) = store.post_chains(tx, [[escrow.hold(amount_micros, key)]], self._ids)
            there = store.takeable(tx, [escrow.wallet, escrow.account, debt])
            if there[debt] < 0:
                raise OrganizationInDebt(-there[debt], escrow.currency_code)
            if outcome in (Outcome.POSTED, Outcome.REPEATED):
                return there[escrow.account]
        if outcome is Outcome.KEY_REUSED:
            raise KeyReused
        raise InsufficientFunds(there[escrow.wallet], amount_micros, escrow.currency_code)

    def release(
        self,
        escrow: Escrow,
        key: str,
        idempotency: Idempotency[int, pb.ReleaseHoldResponse],
        most_micros: int | None = None,
    ) -> pb.ReleaseHoldResponse:
        """Moves what the escrow holds, or at most so much, back into the wallet; how much that was.

        What comes back pays a debt first. A repeat moves nothing. IDEMPOTENCY_KEY_REUSED.
        """
        currency(escrow.currency_code)
        wallet = Wallet(escrow.organization_id, escrow.currency_code)
        with self._db.transaction() as tx:
            if (seen := idempotency.replay(tx)) is not None:
                return seen
            # Keys are forgotten after a while; the ledger knows for ever what was released under which.
            if (first := store.posted_from(tx, escrow.release(1, key).key)) is not None:
                return idempotency.record(tx, _released_before(first, escrow, most_micros))
            there = store.lock(tx, [wallet.available, wallet.debt, escrow.account])
            released_micros = there[escrow.account]
            if most_micros is not None:
                released_micros = min(released_micros, most_micros)
            if released_micros:
                store.post(tx, wallet.put(escrow.release(released_micros, key), there), self._ids)
            return idempotency.record(tx, released_micros)

    def spend(self, items: Sequence[Spend]) -> Sequence[SpendResult]:
        """Takes each item, or as much of it as its escrow holds.

        A repeat posts nothing and says what was posted; another item with the same key is refused. What publishers earn
        from organizations that owe money is marked, to be put on hold.
        """
        for code in {item.escrow.currency_code for item in items}:
            currency(code)
        with self._db.transaction() as tx:
            chains = [list(item.transfers(item.amount_micros)) for item in items]
            outcomes = store.post_chains(tx, chains, self._ids, answers=[item.key for item in items])
            others = [item for item, outcome in zip(items, outcomes, strict=True) if outcome is not Outcome.POSTED]
            rest = iter(self._spend_rest(tx, others) if others else ())
            earning = {(one.escrow.organization_id, one.escrow.currency_code) for one in items if one.earner}
            debts = {Wallet(*whose).debt: whose for whose in earning}
            # Read once this has the SPENT accounts' locks: a debt that comes later is settled when they are free again.
            held = store.takeable(tx, {item.escrow.account for item in items} | debts.keys())
            store.mark_debts(tx, [whose for debt, whose in debts.items() if held[debt] < 0])
        return [
            _result(item, None if outcome is Outcome.POSTED else next(rest), held[item.escrow.account])
            for item, outcome in zip(items, outcomes, strict=True)
        ]

    def _spend_rest(self, tx: Transaction, items: Sequence[Spend]) -> Sequence[Answered]:
        """What was answered for those that were not taken whole: repeats, and what is beyond an escrow."""
        # No account that was not locked with all of these already.
        chains = [item.transfers(item.amount_micros) for item in items]
        held = dict(store.lock(tx, {side for chain in chains for one in chain for side in (one.debit, one.credit)}))
        answered = store.answered_before(tx, items)
        transfers: list[Transfer] = []
        parts: list[tuple[Spend, int]] = []
        for item in items:
            escrow = item.escrow.account
            if (escrow.id, item.key) in answered:
                continue
            amount_micros = min(item.amount_micros, held[escrow])
            held[escrow] -= amount_micros
            answered[escrow.id, item.key] = Answered(item.amount_micros, amount_micros, item.content_hash)
            transfers += item.transfers(amount_micros)
            parts.append((item, amount_micros))
        store.post(tx, transfers, self._ids)
        store.add_spends(tx, parts)
        return [answered[item.escrow.account.id, item.key] for item in items]

    def expired(self, limit: int) -> Sequence[UUID]:
        """The transfers that set something aside until a time that has passed."""
        return store.expired_of_anyone(self._db, self._clock.now(), limit)

    def void(self, transfer_id: UUID) -> bool:
        """Frees what the transfer has set aside, and pays debts with it; False where it has ended meanwhile."""
        with self._db.transaction() as tx:
            pending = store.pending_of_anyone(tx, transfer_id)
            if pending is None:
                return False
            owner = pending.debit.organization_id
            wallet = Wallet(owner, pending.debit.currency_code) if owner else None
            own = [wallet.available, wallet.debt] if wallet else []
            there = store.lock(tx, {pending.debit, pending.credit, *own})
            if store.pending_of_anyone(tx, transfer_id) is None:
                return False
            posted = [pending.voided()]
            if wallet and pending.debit == wallet.available:
                posted += wallet.freed(pending.amount_micros, there, pending.reference, posted[0].key)
            store.post(tx, posted, self._ids)
            return True

    def balance(self, organization_id: UUID, currency_code: str, at: datetime | None = None) -> Balance:
        """What the organization has in a currency, USD unless given, or had before a time; CURRENCY_UNSUPPORTED."""
        before = min_id_at(at) if at else None
        return books.balance(self._db, organization_id, currency(currency_code), before)

    def statement(
        self, organization_id: UUID, currency_code: str, part: Page, start: datetime | None, end: datetime | None
    ) -> Slice[Line]:
        """What changed the organization's balance from `start` to before `end`, newest first; CURRENCY_UNSUPPORTED."""
        since = min_id_at(start) if start else UUID(int=0)
        before = min(part.before, min_id_at(end)) if end else part.before
        rows = books.statement(self._db, organization_id, currency(currency_code), since, before, part.limit)
        return cut(rows, part, lambda line: line.id)

    def holds(self, part: Page) -> Slice[Hold]:
        """The escrows that hold something, of all organizations."""
        return cut(books.holds_of_anyone(self._db, part.before, part.limit), part, lambda hold: hold.id)

    def publisher_balances(self, publisher_ids: Collection[UUID]) -> Sequence[PublisherBalance]:
        """What these publishers have, a row a currency."""
        return books.of_publishers(self._db, publisher_ids)

    def verify(self) -> Sequence[Books]:
        """What the books add up to when every balance is derived anew."""
        return books.verify(self._db)


def _result(item: Spend, first: Answered | None, held_micros: int) -> SpendResult:
    """The item's result; `first` is what was answered for its key, None where all of it was posted now."""
    if first is None:
        return SpendResult(item.key, item.amount_micros, held_micros)
    if item.asks_the_same(first):
        return SpendResult(item.key, first.posted_micros, held_micros)
    _log.error(
        "spend_key_reused", campaign=str(item.escrow.campaign_id), key=item.key, asked_micros=item.amount_micros,
        first_asked_micros=first.asked_micros, first_posted_micros=first.posted_micros,
    )  # fmt: skip
    return SpendResult(item.key, 0, held_micros, is_refused=True, first_posted_micros=first.posted_micros)


def _released_before(first: tuple[UUID, int], escrow: Escrow, most_micros: int | None) -> int:
    """What a release moved whose key is used again; IDEMPOTENCY_KEY_REUSED where it was another's."""
    escrow_id, released_micros = first
    if escrow_id != escrow.account.id or (most_micros is not None and released_micros > most_micros):
        raise KeyReused
    return released_micros
