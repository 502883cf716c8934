"""A reorganization reverses the transfers in orphaned blocks, whether they were pending, credited or spent."""

from uuid import uuid4

import psycopg
import pytest

from adlib.errors import Aborted, Unavailable
from adlib.ids import new_id
from adsandbox.chain.coins import CHAIN_ID
from payment_service.holds.model import Escrow
from payment_service.ledger import store as ledger
from payment_service.ledger.model import Wallet
from payment_service.payments.model import Payment, State
from payment_service.providers.crypto.chain import store
from payment_service.providers.crypto.transfers import store as transfers

CONFIRMATIONS, USD = 4, 1_000_000


def address(payment: Payment) -> str:
    return str(payment.instructions["address"])


def spend(shop, micros: int) -> None:
    wallet, escrow = Wallet(shop.organization_id, "USD"), Escrow(shop.organization_id, uuid4(), "USD")
    with shop.db.transaction() as tx:
        ledger.lock(tx, [wallet.available, escrow.account])
        ledger.post(tx, [escrow.hold(micros, new_id().hex)], new_id)


def is_sound(shop) -> bool:
    return not any(one.sum_micros or one.difference_micros for one in shop.balances.verify())


def test_pending_transfer_that_is_dropped_is_reversed(shop) -> None:
    payment = shop.open()
    shop.chain.mine(2)
    shop.chain.pay(address(payment), 100)
    shop.chain.mine(2)
    shop.poll()
    assert shop.states(payment) == ["SEEN"]
    shop.chain.reorg(2, keep=False)
    shop.poll()
    assert (shop.states(payment), shop.balance()) == (["REVERSED"], (0, 0))
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    assert shop.balance() == (0, 0)


def test_transfer_that_moves_to_another_block_is_credited_once(shop) -> None:
    payment = shop.open()
    shop.chain.mine(2)
    shop.chain.pay(address(payment), 100)
    shop.chain.mine(2)
    shop.poll()
    shop.chain.reorg(2, keep=True)
    shop.poll()
    assert sorted(shop.states(payment)) == ["REVERSED", "SEEN"]
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    assert sorted(shop.states(payment)) == ["CREDITED", "REVERSED"]
    assert (shop.paid(payment), shop.balance()) == (100 * USD, (100 * USD, 0))
    assert is_sound(shop)


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "dropped"])
def test_credited_transfer_is_reversed_and_becomes_a_debt_if_spent(shop, keep: bool) -> None:
    payment = shop.open()
    shop.chain.mine(2)
    shop.chain.pay(address(payment), 100)
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    spend(shop, 70 * USD)
    assert shop.balance() == (30 * USD, 0)
    shop.chain.reorg(CONFIRMATIONS + 1, keep=keep)
    shop.poll()
    if keep:  # the new branch is as long, so the transfer has its confirmations at once
        assert sorted(shop.states(payment)) == ["CREDITED", "REVERSED"]
        assert (shop.get(payment).state, shop.balance()) == (State.SUCCEEDED, (30 * USD, 0))
    else:
        assert shop.states(payment) == ["REVERSED"]
        assert (shop.paid(payment), shop.balance()) == (0, (0, 70 * USD))
        shop.chain.pay(address(payment), 100)
        shop.chain.mine(CONFIRMATIONS)
        shop.poll()
        assert shop.balance() == (30 * USD, 0)
    assert is_sound(shop)


def test_reorganization_during_downtime_is_found_by_block_hashes(shop) -> None:
    payment = shop.open()
    shop.chain.mine(2)
    shop.chain.pay(address(payment), 100)
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    shop.chain.reorg(CONFIRMATIONS, keep=False)
    shop.chain.mine(50)
    assert shop.another_watcher().poll(30)
    assert (shop.states(payment), shop.balance()) == (["REVERSED"], (0, 0))


def test_repeated_reorganizations_credit_the_final_chain(shop) -> None:
    payments = [shop.open(10 * USD) for _ in range(3)]
    shop.chain.mine(8)
    shop.poll()
    for depth, keep in ((1, True), (3, True), (2, True), (6, True), (1, True)):
        shop.chain.pay(address(payments[depth % 3]), 10)
        shop.chain.mine(2)
        shop.poll()
        shop.chain.reorg(depth, keep=keep)
        shop.poll()
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    assert shop.balance() == (50 * USD, 0)
    assert sum(shop.paid(payment) for payment in payments) == 50 * USD
    assert is_sound(shop)


def test_stale_watcher_does_not_credit_a_reversed_transfer(shop) -> None:
    payment = shop.open()
    shop.chain.mine(2)
    shop.chain.pay(address(payment), 100)
    shop.chain.mine(2)
    shop.poll()
    (deposit,) = shop.deposits(payment)
    shop.chain.reorg(2, keep=False)
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    shop.another_watcher()._booker.book(deposit.external_key)
    assert (shop.states(payment), shop.balance()) == (["REVERSED"], (0, 0))


def test_stale_watcher_stores_nothing(shop) -> None:
    payment = shop.open()
    late = shop.another_watcher()
    before = store.position(shop.db, CHAIN_ID)
    shop.chain.pay(address(payment), 100)
    head = shop.chain.mine(2)
    shop.poll()
    with pytest.raises(Aborted):
        late._reader.read(late._node, before, head)
    assert shop.states(payment) == ["SEEN"]


def test_transfer_in_a_restored_block_is_credited_again(shop) -> None:
    payment = shop.open()
    shop.chain.mine(2)
    shop.chain.pay(address(payment), 100)
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    (deposit,) = shop.deposits(payment)
    number = deposit.detail["chain"]["block_number"]
    # As if another branch had been the longest for a while.
    with shop.db.transaction() as tx:
        store.delete_blocks(tx, CHAIN_ID, 0, number - 1)
        transfers.orphan(tx, CHAIN_ID, number - 1)
        store.save_position(tx, CHAIN_ID, number - 1, number - 1, deposit.created_at)
    shop.chain.behave(fail_rate=1)
    with pytest.raises(Unavailable):
        shop.poll()
    assert (shop.states(payment), shop.balance()) == (["REVERSED"], (0, 0))
    shop.chain.behave(fail_rate=0)
    for _ in range(2):
        shop.poll()
        assert (shop.states(payment), shop.balance()) == (["CREDITED"], (100 * USD, 0))
    assert is_sound(shop)


class ReorganizingNode:
    """A node whose chain changes between two calls."""

    def __init__(self, node, chain, after: str, depth: int) -> None:
        self._node, self._chain, self._after, self._depth = node, chain, after, depth
        self.fired = 0

    def within(self, seconds: float) -> "ReorganizingNode":
        self._node = self._node.within(seconds)
        return self

    def __getattr__(self, name: str):
        found = getattr(self._node, name)
        if name != self._after:
            return found

        def call(*arguments, **named):
            answer = found(*arguments, **named)
            if not self.fired:
                self.fired += 1
                self._chain.reorg(self._depth, keep=False)
            return answer

        return call


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("after", ["head_and_block", "logs", "blocks", "receipts"])
def test_chain_that_changes_between_calls_is_read_again(shop, after: str, depth: int) -> None:
    payment = shop.open()
    shop.chain.mine(2)
    shop.chain.pay(address(payment), 50)
    shop.chain.mine()
    shop.poll()
    assert shop.states(payment) == ["SEEN"]
    shop.chain.pay(address(payment), 100)
    shop.chain.pay(address(payment), "0.01", "ETH")
    shop.chain.mine()
    shop.watcher._node = node = ReorganizingNode(shop.watcher._node, shop.chain, after, depth)
    try:
        shop.poll()
    except Unavailable:
        shop.poll()
    shop.poll()
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    assert node.fired == 1
    # Only the deeper reorganization orphans the block of the earlier transfer.
    left = 50 * USD if depth == 1 else 0
    assert (shop.balance(), shop.paid(payment)) == ((left, 0), left)
    assert shop.states(payment).count("CREDITED") == (depth == 1)


def test_reorganization_deeper_than_the_history_halts_the_chain(shop, own_database_url) -> None:
    payment = shop.open()
    shop.chain.mine(3)
    shop.poll()
    with psycopg.connect(own_database_url, autocommit=True) as sql:
        sql.execute("DELETE FROM crypto_blocks WHERE number < (SELECT max(number) - 1 FROM crypto_blocks)")
        shop.chain.reorg(5, keep=False)
        shop.chain.pay(address(payment), 100)
        shop.chain.mine(CONFIRMATIONS)
        for _ in range(2):
            with pytest.raises(Unavailable, match="looked into by staff"):
                shop.poll()
        assert shop.deposits(payment) == []
        # An operator resumes from a block before the payment.
        sql.execute("DELETE FROM crypto_blocks")
        sql.execute(
            "UPDATE crypto_chains SET halted_reason = '', read_number = %(number)s, confirmed_number = %(number)s",
            {"number": shop.chain.head - CONFIRMATIONS},
        )
    shop.poll()
    assert shop.paid(payment) == 100 * USD


def test_reinstalled_node_does_not_halt_the_chain(shop, own_database_url) -> None:
    payment = shop.open()
    shop.chain.mine(3)
    shop.chain.pay(address(payment), 100)
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    shop.chain.behave(behind_blocks=shop.chain.head - 1)
    with pytest.raises(Unavailable, match="far behind"):
        shop.poll()
    shop.chain.behave(behind_blocks=0)
    shop.poll()
    assert shop.balance() == (100 * USD, 0)
