"""Debts and earnings on hold: marking, settlement, and the migration."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.resources import files
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from yoyo import get_backend, read_migrations

from adlib.clock import SystemClock
from adlib.db import Database, Query, migrate
from adlib.ids import new_id
from adlib.outbox import Outbox
from payment_service.__main__ import MIGRATIONS
from payment_service.balances import store as books
from payment_service.balances.service import BalanceService
from payment_service.debts import store as debts
from payment_service.debts.service import DebtService
from payment_service.holds.model import Earner, Escrow, Spend
from payment_service.holds.service import HoldService
from payment_service.ledger import store
from payment_service.ledger.model import InsufficientFunds, Transfer, Wallet
from payment_service.payouts.service import PayoutService

EVERYTHING = UUID(int=0)


class NoBank:
    """A payout provider that must not be called."""

    name = "WISE"


class Books:
    """An organization that has 100, a publisher, and the ledger without its background work."""

    def __init__(self, db: Database, publisher: "Books | None" = None) -> None:
        self.db = db
        self.organization_id, self.campaign_id = uuid4(), uuid4()
        self.publisher_id = publisher.publisher_id if publisher else uuid4()
        self.earner_id = publisher.earner_id if publisher else uuid4()
        self.wallet = Wallet(self.organization_id, "USD")
        self.holds, self.balances = HoldService(db, new_id), BalanceService(db)
        outbox = Outbox("payment", SystemClock())
        self.debts = DebtService(db, outbox, new_id)
        self.payouts = PayoutService(db, outbox, NoBank(), self.debts, SystemClock(), new_id)  # type: ignore[arg-type]
        self.take(-100)
        self.escrow = Escrow(self.organization_id, self.campaign_id, "USD")
        self.holds.hold(self.escrow, 100, "start")

    def take(self, amount: int) -> None:
        """Reverses the amount of the deposit; a negative amount is deposited."""
        clearing = self.wallet.clearing("STRIPE")
        key = str(uuid4())
        with self.db.transaction() as tx:
            there = store.lock(tx, [self.wallet.available, self.wallet.debt, clearing])
            if amount < 0:
                deposit = Transfer("DEPOSIT", clearing, self.wallet.available, -amount, uuid4(), key)
                moved = self.wallet.incoming(deposit, there)
            else:
                dispute = Transfer("DISPUTE", self.wallet.available, clearing, amount, uuid4(), key)
                moved = self.wallet.outgoing(dispute, there)
            store.post(tx, moved, new_id)

    def spend(self, amount: int) -> None:
        earner = Earner(self.earner_id, self.publisher_id, 5000)
        self.holds.spend([Spend(self.escrow, amount, str(uuid4()), earner)])

    def reserve(self, amount: int) -> None:
        self.payouts.reserve(uuid4(), self.earner_id, self.publisher_id, amount * 10_000, "USD")

    def figures(self) -> tuple[int, int]:
        """Available and on hold."""
        (one,) = self.balances.publisher_balances([self.publisher_id])
        return one.available_micros, one.on_hold_micros

    def marked(self) -> bool:
        return (self.organization_id, "USD") in debts.marked_any_tenant(self.db, 100)


@pytest.fixture
def desk(own_database_url: str) -> Iterator[Books]:
    db = Database(own_database_url, max_connections=10)
    yield Books(db)
    assert all(one.is_sound for one in books.verify_any_tenant(db))
    db.close()


def test_only_changes_of_a_debt_mark_it(desk: Books) -> None:
    desk.spend(10)
    desk.take(-5)
    assert not desk.marked()
    desk.take(30)
    assert desk.marked()
    desk.debts.settle_marked()
    assert not desk.marked()
    desk.spend(10)
    assert desk.marked(), "its publishers earn while it owes"
    desk.debts.settle_marked()
    desk.take(-5)
    assert desk.marked()


def test_payout_cannot_reserve_earnings_that_have_to_be_put_on_hold(desk: Books) -> None:
    """No task runs in the background: the call itself settles the marked debts."""
    desk.holds.hold(desk.escrow, 0, "ask")
    desk.spend(100)
    assert desk.figures() == (50, 0)
    desk.take(100)
    assert desk.figures() == (50, 0)
    with pytest.raises(InsufficientFunds):
        desk.reserve(1)
    assert desk.figures() == (0, 50)


def test_change_of_a_debt_during_its_settlement_is_not_lost(desk: Books) -> None:
    desk.spend(100)
    desk.take(30)
    with desk.db.transaction() as tx:
        seen = debts.version(tx, desk.organization_id, "USD")
        assert seen is not None
        desk.take(10)
        debts.clear_mark(tx, desk.organization_id, "USD", seen)
    assert desk.marked()
    desk.debts.settle_marked()
    assert desk.figures() == (10, 40)


def test_settlement_is_idempotent(desk: Books) -> None:
    desk.spend(100)
    desk.take(30)
    for _ in range(2):
        desk.debts.settle(desk.organization_id, "USD")
        assert desk.figures() == (20, 30)
    with desk.db.transaction() as tx:
        store.mark_debts(tx, [(desk.organization_id, "USD")])
    desk.debts.settle(desk.organization_id, "USD")
    assert desk.figures() == (20, 30)


def test_failing_debt_does_not_block_the_others(desk: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of the two organizations is settled first."""
    desk.spend(100)
    other = Books(desk.db)
    other.spend(100)
    for one in (desk, other):
        one.take(30)
    settle = desk.debts.settle
    for failing, going in ((desk, other), (other, desk)):

        def fails_for_one(organization_id: UUID, currency_code: str, failing: Books = failing) -> None:
            if organization_id == failing.organization_id:
                raise RuntimeError("a fault")
            settle(organization_id, currency_code)

        monkeypatch.setattr(desk.debts, "settle", fails_for_one)
        desk.debts.settle_marked()
        assert (going.figures(), going.marked()) == ((20, 30), False)
    assert other.marked() is False


def test_concurrent_payouts_spend_and_debts_do_not_deadlock(desk: Books) -> None:
    """In any order, the amount on hold at the end is the debt, capped to the unpaid earnings."""
    desks = [desk, *(Books(desk.db, publisher=desk) for _ in range(2))]
    for one in desks:
        one.take(-10_000_000)
        one.holds.hold(one.escrow, 10_000_000, "more")

    def act(number: int) -> None:
        one = desks[number % 3]
        match number % 7:
            case 0 | 1 | 2:
                one.spend(20_000)
            case 3:
                one.take(80_000)
            case 4:
                one.take(-30_000)
            case 5:
                one.debts.settle_marked()
            case _:
                payout_id = uuid4()
                with suppress(InsufficientFunds):
                    one.payouts.reserve(payout_id, one.earner_id, one.publisher_id, 10_000, "USD")
                    one.payouts.cancel(payout_id)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(act, range(210)))
    while desk.debts.settle_marked():
        pass
    balances = [one.balances.balance(one.organization_id, "USD") for one in desks]
    earned = [one.spent_micros // 2 for one in balances]
    on_hold = sum(min(one.debt_micros, micros) for one, micros in zip(balances, earned, strict=True))
    assert on_hold > 0
    assert desk.figures() == (sum(earned) - on_hold, on_hold)


def rolled_back(url: str) -> None:
    backend = get_backend(url.replace("postgresql://", "postgresql+psycopg://", 1))
    newer = read_migrations(str(files("payment_service") / "migrations")).filter(lambda one: one.id >= "payment-0014")
    with backend.lock():
        backend.rollback_migrations(backend.to_rollback(newer))
    backend.connection.close()


def test_migration_rollback_releases_holds_and_migration_marks_debtors(desk: Books, own_database_url: str) -> None:
    desk.spend(100)
    desk.take(30)
    desk.debts.settle_marked()
    assert desk.figures() == (20, 30)
    rolled_back(own_database_url)
    assert desk.figures() == (50, 0)
    assert "payment-0014-debts" in migrate(own_database_url, *MIGRATIONS)
    assert desk.marked()
    desk.debts.settle_marked()
    assert desk.figures() == (20, 30)
    assert len(desk.db.all(Query(text("SELECT payload FROM outbox")))) == 2
