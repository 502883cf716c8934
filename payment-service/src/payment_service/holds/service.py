"""Holds campaigns' budgets, releases them, and posts campaigns' spend."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from adplatform.payment.v1 import payment_pb2 as pb

from adlib.db import Database, Transaction
from adlib.idempotency import Idempotency, KeyReused
from adlib.ids import NewId
from adlib.money import currency
from adlib.paging import Page, Slice, cut
from adlib.telemetry import logger
from payment_service.holds import store
from payment_service.holds.model import Escrow, Hold, OrganizationInDebt, PriorSpend, Spend
from payment_service.ledger import store as ledger
from payment_service.ledger.model import InsufficientFunds, Outcome, Transfer, Wallet

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class SpendResult:
    """The result of one spend item: the amount posted and the amount that the escrow still holds.

    `is_refused`: the key was used before for another amount or publisher; that item posted `first_posted_micros`.
    """

    key: str
    posted_micros: int
    held_micros: int
    is_refused: bool = False
    first_posted_micros: int = 0


class HoldService:
    """The use cases of holds and spend."""

    def __init__(self, db: Database, ids: NewId) -> None:
        self._db = db
        self._ids = ids

    def hold(self, escrow: Escrow, amount_micros: int, key: str) -> int:
        """Moves the amount from the wallet into the escrow and returns the escrow's balance. A repeat moves nothing.

        An amount of 0 only reads. ORGANIZATION_IN_DEBT, INSUFFICIENT_FUNDS, IDEMPOTENCY_KEY_REUSED.
        """
        currency(escrow.currency_code)
        debt = Wallet(escrow.organization_id, escrow.currency_code).debt
        with self._db.transaction() as tx:
            outcome = Outcome.POSTED
            if amount_micros:
                (outcome,) = ledger.post_chains(tx, [[escrow.hold(amount_micros, key)]], self._ids)
            balances = ledger.available(tx, [escrow.wallet, escrow.account, debt])
            if balances[debt] < 0:
                raise OrganizationInDebt(-balances[debt], escrow.currency_code)
            if outcome in (Outcome.POSTED, Outcome.REPEATED):
                return balances[escrow.account]
        if outcome is Outcome.KEY_REUSED:
            raise KeyReused
        raise InsufficientFunds(balances[escrow.wallet], amount_micros, escrow.currency_code)

    def release(
        self,
        escrow: Escrow,
        key: str,
        idempotency: Idempotency[int, pb.ReleaseHoldResponse],
        max_micros: int | None = None,
    ) -> pb.ReleaseHoldResponse:
        """Moves the held amount, or at most `max_micros` of it, back into the wallet, where it pays debt first.

        A repeat moves nothing and returns the first amount. IDEMPOTENCY_KEY_REUSED.
        """
        currency(escrow.currency_code)
        wallet = Wallet(escrow.organization_id, escrow.currency_code)
        with self._db.transaction() as tx:
            if (seen := idempotency.replay(tx)) is not None:
                return seen
            # Idempotency records expire; the ledger's keys do not.
            if (first := ledger.debit_by_key(tx, escrow.release(1, key).key)) is not None:
                return idempotency.record(tx, _first_released_micros(first, escrow, max_micros))
            balances = ledger.lock(tx, [wallet.available, wallet.debt, escrow.account])
            released_micros = balances[escrow.account]
            if max_micros is not None:
                released_micros = min(released_micros, max_micros)
            if released_micros:
                ledger.post(tx, wallet.incoming(escrow.release(released_micros, key), balances), self._ids)
            return idempotency.record(tx, released_micros)

    def spend(self, items: Sequence[Spend]) -> Sequence[SpendResult]:
        """Posts each item, capped to its escrow's balance.

        A repeat posts nothing and returns the amount posted first; another item with the same key is refused.
        Organizations in debt are marked, so that publishers' earnings from them are put on hold.
        """
        for code in {item.escrow.currency_code for item in items}:
            currency(code)
        with self._db.transaction() as tx:
            chains = [list(item.transfers(item.amount_micros)) for item in items]
            outcomes = ledger.post_chains(tx, chains, self._ids, answers=[item.key for item in items])
            others = [item for item, outcome in zip(items, outcomes, strict=True) if outcome is not Outcome.POSTED]
            rest = iter(self._spend_rest(tx, others) if others else ())
            earning = {(one.escrow.organization_id, one.escrow.currency_code) for one in items if one.earner}
            debts = {Wallet(*owner).debt: owner for owner in earning}
            # Read while the SPENT accounts are locked: a later debt is settled only after they are released.
            held = ledger.available(tx, {item.escrow.account for item in items} | debts.keys())
            ledger.mark_debts(tx, [owner for debt, owner in debts.items() if held[debt] < 0])
        return [
            _result(item, None if outcome is Outcome.POSTED else next(rest), held[item.escrow.account])
            for item, outcome in zip(items, outcomes, strict=True)
        ]

    def _spend_rest(self, tx: Transaction, items: Sequence[Spend]) -> Sequence[PriorSpend]:
        """The results of items that were not posted in full at first: repeats, and items beyond their escrow."""
        # All of these accounts are locked by this transaction already.
        chains = [item.transfers(item.amount_micros) for item in items]
        held = dict(ledger.lock(tx, {side for chain in chains for one in chain for side in (one.debit, one.credit)}))
        prior = store.prior_spends(tx, items)
        transfers: list[Transfer] = []
        parts: list[tuple[Spend, int]] = []
        for item in items:
            escrow = item.escrow.account
            if (escrow.id, item.key) in prior:
                continue
            amount_micros = min(item.amount_micros, held[escrow])
            held[escrow] -= amount_micros
            prior[escrow.id, item.key] = PriorSpend(item.amount_micros, amount_micros, item.content_hash)
            transfers += item.transfers(amount_micros)
            parts.append((item, amount_micros))
        ledger.post(tx, transfers, self._ids)
        store.add_spends(tx, parts)
        return [prior[item.escrow.account.id, item.key] for item in items]

    def list_page(self, part: Page) -> Slice[Hold]:
        """The escrows of all organizations that hold money."""
        return cut(store.list_any_tenant(self._db, part.before, part.limit), part, lambda hold: hold.id)


def _result(item: Spend, first: PriorSpend | None, held_micros: int) -> SpendResult:
    """The item's result; `first` is the first item with its key, None if the item was posted in full just now."""
    if first is None:
        return SpendResult(item.key, item.amount_micros, held_micros)
    if item.is_repeat_of(first):
        return SpendResult(item.key, first.posted_micros, held_micros)
    _log.error(
        "spend_key_reused", campaign=str(item.escrow.campaign_id), key=item.key, requested_micros=item.amount_micros,
        first_requested_micros=first.requested_micros, first_posted_micros=first.posted_micros,
    )  # fmt: skip
    return SpendResult(item.key, 0, held_micros, is_refused=True, first_posted_micros=first.posted_micros)


def _first_released_micros(first: tuple[UUID, int], escrow: Escrow, max_micros: int | None) -> int:
    """The amount of the first release with the key; IDEMPOTENCY_KEY_REUSED if that was another request."""
    escrow_id, released_micros = first
    if escrow_id != escrow.account.id or (max_micros is not None and released_micros > max_micros):
        raise KeyReused
    return released_micros
