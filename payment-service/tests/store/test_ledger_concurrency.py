"""Concurrent transfers lose no update, and no client sees a deadlock."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import UUID, uuid4

import psycopg
import pytest

from adlib.db import Database
from adlib.ids import new_id
from adtesting import eventually
from payment_service.balances import store as books
from payment_service.holds.model import Earner, Escrow, Spend
from payment_service.holds.service import HoldService
from payment_service.ledger import store
from payment_service.ledger.model import Account, InsufficientFunds, Kind, Outcome, Transfer, Wallet

CLIENTS, ACCOUNTS = 64, 1_000
FUNDS = 1_000


@pytest.fixture
def crowd(own_database_url: str) -> Iterator[Database]:
    database = Database(own_database_url, max_connections=24, wait_s=30)
    yield database
    database.close()


def funded(db: Database, number: int) -> list[Account]:
    """Creates this many escrows, each with funds."""
    escrows = [Escrow(uuid4(), uuid4(), "USD") for _ in range(number)]
    chains = [
        [
            Transfer(
                "DEPOSIT", Wallet(one.organization_id, "USD").clearing("STRIPE"), one.account, FUNDS, uuid4(),
                str(uuid4()),
            )
        ]
        for one in escrows
    ]  # fmt: skip
    assert set(store.post_chains(db, chains, new_id)) == {Outcome.POSTED}
    return [one.account for one in escrows]


def moved(debit: Account, credit: Account, micros: int, key: str = "") -> Transfer:
    return Transfer("CORRECTION", debit, credit, micros, uuid4(), key or str(uuid4()))


def all_at_once(work: Callable[[int], object]) -> list[object]:
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(work, range(CLIENTS)))


def sound(db: Database) -> bool:
    return all(one.is_sound for one in books.verify_any_tenant(db))


def test_concurrent_transfers_on_one_account_lose_no_update(crowd: Database) -> None:
    hot, *own = funded(crowd, 1 + CLIENTS)

    def work(client: int) -> None:
        for _ in range(5):
            chains = [[moved(own[client], hot, 3)], [moved(hot, own[client], 1)]]
            assert store.post_chains(crowd, chains, new_id) == [Outcome.POSTED] * 2

    all_at_once(work)
    there = store.available(crowd, [hot, *own])
    assert there[hot] == FUNDS + CLIENTS * 5 * 2
    assert [there[one] for one in own] == [FUNDS - 10] * CLIENTS
    assert sound(crowd)


def test_concurrent_transfers_over_many_accounts_do_not_deadlock(crowd: Database) -> None:
    accounts = funded(crowd, ACCOUNTS)

    def work(client: int) -> dict[Account, int]:
        random_, changed = random.Random(client), dict.fromkeys(accounts, 0)
        for _ in range(4):
            pairs = [random_.sample(accounts, 2) for _ in range(20)]
            made = [[moved(debit, credit, 1)] for debit, credit in pairs]
            if random_.random() < 0.5:
                assert set(store.post_chains(crowd, made, new_id)) == {Outcome.POSTED}
            else:
                with crowd.transaction() as tx:
                    store.lock(tx, {account for pair in pairs for account in pair})
                    store.post(tx, [one for chain in made for one in chain], new_id)
            for debit, credit in pairs:
                changed[debit] -= 1
                changed[credit] += 1
        return changed

    changes = all_at_once(work)
    there = store.available(crowd, accounts)
    assert [there[one] for one in accounts] == [
        FUNDS + sum(change[one] for change in changes)  # type: ignore[index]  # what `work` returns
        for one in accounts
    ]
    assert sound(crowd)


def test_concurrent_repeats_of_batches_are_posted_once(crowd: Database) -> None:
    accounts = funded(crowd, 40)
    made = [[moved(accounts[number], accounts[number + 20], 1, f"same:{number}")] for number in range(20)]

    def work(client: int) -> list[Outcome]:
        mine = made[:]
        random.Random(client).shuffle(mine)
        return store.post_chains(crowd, mine, new_id)

    outcomes = [outcome for mine in all_at_once(work) for outcome in mine]  # type: ignore[attr-defined]  # a list
    assert outcomes.count(Outcome.POSTED) == 20
    assert outcomes.count(Outcome.REPEATED) == (CLIENTS - 1) * 20
    assert sound(crowd)


def test_concurrent_repeats_of_spend_return_the_same_result(crowd: Database) -> None:
    holds = HoldService(crowd, new_id)
    wallets = [Wallet(uuid4(), "USD") for _ in range(4)]
    escrows = [Escrow(wallet.organization_id, uuid4(), "USD") for wallet in wallets]
    earner = Earner(uuid4(), uuid4(), 7000)
    for wallet, escrow in zip(wallets, escrows, strict=True):
        paid = Transfer("DEPOSIT", wallet.clearing("STRIPE"), wallet.available, 100, uuid4(), str(uuid4()))
        assert store.post_chains(crowd, [[paid]], new_id) == [Outcome.POSTED]
        holds.hold(escrow, 100, "start")
    # Whichever item of an escrow is last is capped, and one of the escrows is empty.
    empty = Escrow(uuid4(), uuid4(), "USD")
    items = [Spend(escrow, 40, f"day:{day}", earner) for escrow in [*escrows, empty] for day in range(3)]

    def work(client: int) -> dict[tuple[UUID, str], int]:
        mine = items[:]
        random.Random(client % 8).shuffle(mine)
        results = holds.spend(mine)
        return {
            (item.escrow.campaign_id, item.key): result.posted_micros
            for item, result in zip(mine, results, strict=True)
        }

    answers = all_at_once(work)
    assert all(answer == answers[0] for answer in answers)
    assert sum(answers[0].values()) == 400  # type: ignore[attr-defined]  # a dictionary
    assert sound(crowd)


def test_concurrent_holds_beyond_the_balance_succeed_while_funds_last(crowd: Database) -> None:
    holds, wallet = HoldService(crowd, new_id), Wallet(uuid4(), "USD")
    paid = Transfer("DEPOSIT", wallet.clearing("STRIPE"), wallet.available, 200, uuid4(), str(uuid4()))
    assert store.post_chains(crowd, [[paid]], new_id) == [Outcome.POSTED]

    def work(client: int) -> bool:
        try:
            holds.hold(Escrow(wallet.organization_id, uuid4(), "USD"), 10, f"k{client}")
        except InsufficientFunds:
            return False
        return True

    assert sum(map(bool, all_at_once(work))) == 20
    assert store.available(crowd, [wallet.available]) == {Account(Kind.AVAILABLE, "USD", wallet.organization_id): 0}
    assert sound(crowd)


def test_partial_spend_locks_accounts_in_order(crowd: Database, own_database_url: str) -> None:
    """A publisher account without a share is not locked, since its holder may be waiting for the escrow."""
    escrow, earners = Escrow(uuid4(), uuid4(), "USD"), (Earner(uuid4(), uuid4(), 0) for _ in range(1_000))
    wallet = Wallet(escrow.organization_id, "USD")
    holds = HoldService(crowd, new_id)
    funds = Transfer("DEPOSIT", wallet.clearing("STRIPE"), wallet.available, FUNDS, uuid4(), str(uuid4()))
    assert store.post_chains(crowd, [[funds]], new_id) == [Outcome.POSTED]
    holds.hold(escrow, FUNDS, "h")
    spends = (Spend(escrow, FUNDS + 1, "s", earner) for earner in earners)
    spend = next(one for one in spends if one.accounts[-1].id < escrow.account.id)
    payable = spend.accounts[-1]
    with crowd.transaction() as tx:
        store.open_accounts(tx, [*spend.accounts])
    with psycopg.connect(own_database_url) as other, ThreadPoolExecutor(1) as pool:
        lock = "SELECT 1 FROM accounts WHERE id = %s FOR NO KEY UPDATE"
        other.execute(lock, [payable.id])
        spending = pool.submit(holds.spend, [spend])
        with suppress(TimeoutError):
            spending.result(0.5)
        other.execute(lock, [escrow.account.id])
        other.rollback()
        assert spending.result()[0].posted_micros == FUNDS


def test_transfer_that_waited_for_a_lock_has_the_later_id(crowd: Database, own_database_url: str) -> None:
    escrow = Escrow(uuid4(), uuid4(), "USD")
    wallet, holds = Wallet(escrow.organization_id, "USD"), HoldService(crowd, new_id)
    funds = Transfer("DEPOSIT", wallet.clearing("STRIPE"), wallet.available, FUNDS, uuid4(), str(uuid4()))
    with psycopg.connect(own_database_url, autocommit=True) as watching, ThreadPoolExecutor(1) as pool:

        def is_waiting() -> bool:
            asked = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            return watching.execute(asked).fetchone() is not None

        with crowd.transaction() as tx:
            store.lock(tx, [funds.debit, funds.credit, escrow.account])
            holding = pool.submit(holds.hold, escrow, FUNDS, "h")
            eventually(is_waiting)
            store.post(tx, [funds], new_id)
        assert holding.result() == FUNDS
    hold, deposit = books.statement(crowd, escrow.organization_id, "USD", UUID(int=0), UUID(int=2**128 - 1), 10)
    assert (hold.kind, deposit.kind) == ("HOLD", "DEPOSIT")
    assert books.balance(crowd, escrow.organization_id, "USD", hold.id).available_micros == FUNDS
    assert books.balance(crowd, escrow.organization_id, "USD", deposit.id).available_micros == 0
