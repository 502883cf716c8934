"""A transfer to a payment's address is pending at once, and credited once it has its confirmations."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest

from adlib.errors import Unavailable
from adlib.paging import Page
from adsandbox.chain.coins import CHAIN_ID
from adtesting import eventually
from payment_service.deposits.store import unmatched_any_tenant
from payment_service.payments.model import Outcome, Payment, State
from payment_service.providers.crypto.chain import store
from payment_service.providers.crypto.client import Node
from payment_service.providers.crypto.model import amount_worth

CONFIRMATIONS, USD = 4, 1_000_000


def address(payment: Payment) -> str:
    return str(payment.instructions["address"])


def test_deposit_is_pending_until_it_has_its_confirmations(shop) -> None:
    payment = shop.open(100 * USD)
    assert payment.instructions["amount"] == "100000000"
    shop.chain.pay(address(payment), 100)
    shop.poll()
    assert shop.deposits(payment) == []
    for confirmations in range(1, CONFIRMATIONS):
        shop.chain.mine()
        shop.poll()
        (deposit,) = shop.deposits(payment)
        assert (deposit.state.value, deposit.detail["chain"]["confirmations"]) == ("SEEN", confirmations)
        assert (shop.get(payment).state, shop.balance()) == (State.PROCESSING, (0, 0))
    shop.chain.mine()
    for _ in range(2):
        shop.poll()
        (deposit,) = shop.deposits(payment)
        assert (deposit.state.value, deposit.asset, deposit.asset_amount) == ("CREDITED", "USDC", 100_000_000)
        assert deposit.detail["chain"]["required_confirmations"] == CONFIRMATIONS
        paid = shop.get(payment)
        assert (paid.state, paid.outcome, shop.balance()) == (State.SUCCEEDED, Outcome.EXACT, (100 * USD, 0))


def test_underpaid_overpaid_and_repeated_deposits_are_credited(shop) -> None:
    under, over, again = shop.open(), shop.open(), shop.open()
    shop.chain.pay(address(under), "60")
    shop.chain.pay(address(over), "100.020001")
    shop.chain.pay(address(again), "100")
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    assert [shop.get(one).outcome for one in (under, over)] == [Outcome.UNDERPAID, Outcome.OVERPAID]
    assert shop.get(under).state is not State.SUCCEEDED
    shop.chain.pay(address(under), "40")
    shop.chain.pay(address(again), "100")
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    assert [shop.get(one).outcome for one in (under, again)] == [Outcome.EXACT, Outcome.REPEATED]
    assert shop.get(under).state is State.SUCCEEDED
    assert shop.balance() == (100 * USD + 100_020_000 + 200 * USD, 0)


def test_coin_other_than_the_chosen_one_is_credited(shop) -> None:
    payment = shop.open(100 * USD, "USDC")
    shop.chain.pay(address(payment), "30", "DAI")
    shop.chain.pay(address(payment), "20", "USDT")
    shop.chain.pay(address(payment), "0.02", "ETH")
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    assert sorted((one.asset, one.amount_micros) for one in shop.deposits(payment)) == [
        ("DAI", 30 * USD), ("ETH", 50_010_000), ("USDT", 20 * USD),
    ]  # fmt: skip
    assert shop.paid(payment) == 100_010_000


def test_coin_without_a_rate_in_the_payments_currency_is_unmatched(shop) -> None:
    tether, *others = sorted(shop.settings.coins, key=lambda coin: coin.symbol != "USDT")
    shop.use(coins=[replace(tether, rates={"EUR": Decimal("0.9")}), *others])
    payment = shop.open(100 * USD)
    shop.chain.pay(address(payment), "100", "USDT")
    for unmatched in ([], [("EUR", 90 * USD, "USDT", 100 * USD)]):
        shop.chain.mine(CONFIRMATIONS - 1)
        shop.poll()
        found = unmatched_any_tenant(shop.db, Page(50))
        assert [(one.currency_code, one.amount_micros, one.asset, one.asset_amount) for one in found] == unmatched
    assert ([one.state for one in shop.deposits(payment)], shop.balance()) == (["UNMATCHED"], (0, 0))
    shop.chain.reorg(2 * (CONFIRMATIONS - 1), keep=False)
    shop.poll()
    assert not unmatched_any_tenant(shop.db, Page(50))


def test_native_coin_is_valued_at_the_shown_rate(shop) -> None:
    payment = shop.open(100 * USD, "ETH")
    coin = shop.settings.coin("ETH")
    amount = int(payment.instructions["amount"])
    assert amount == amount_worth(100 * USD, coin, coin.rates["USD"]) == 39_992_001_599_680_064
    shop.chain.pay(address(payment), coin="ETH", smallest=str(amount))
    shop.chain.mine(CONFIRMATIONS)
    dearer = replace(coin, rates={"USD": coin.rates["USD"] * 2})
    shop.use(coins=[*(one for one in shop.settings.coins if one.contract), dearer])
    shop.poll()
    (deposit,) = shop.deposits(payment)
    assert (deposit.asset_amount, deposit.rate, deposit.amount_micros) == (amount, coin.rates["USD"], 100 * USD)
    assert shop.get(payment).outcome is Outcome.EXACT


def test_late_deposit_is_valued_at_the_current_rate(new_shop, own_database_url) -> None:
    shop = new_shop()
    shop.poll()
    payment = shop.open(100 * USD, "ETH")
    with psycopg.connect(own_database_url) as sql:
        sql.execute("UPDATE crypto_addresses SET expires_at = created_at - interval '1 hour', rate = 1")
    shop.features.booking.settle(payment.id, "CRYPTO", shop.provider.close(payment))
    assert shop.get(payment).state is State.EXPIRED
    shop.chain.pay(address(payment), "0.1", "ETH")
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    assert (shop.get(payment).outcome, shop.balance()) == (Outcome.LATE, (250_050_000, 0))


def test_payment_with_a_pending_deposit_does_not_expire(shop) -> None:
    payment = shop.open()
    shop.chain.pay(address(payment), 100)
    shop.chain.mine()
    shop.poll()
    assert shop.provider.close(payment).state is State.PROCESSING
    assert shop.provider.close(shop.open()).state is State.EXPIRED


def test_worthless_and_failed_transfers_are_not_booked(shop) -> None:
    payment = shop.open()
    shop.chain.pay(address(payment), "1000", "FAKE")
    shop.chain.pay(address(payment), smallest="0")
    shop.chain.pay(address(payment), coin="ETH", smallest="0")
    shop.chain.pay(address(payment), "0.009999")
    shop.chain.pay(address(payment), coin="ETH", smallest="1")
    failed = shop.chain.pay(address(payment), coin="USDC", smallest=str(2**255))
    (receipt,) = Node(shop.settings.rpc_url, CHAIN_ID).receipts([failed]) if shop.chain.mine(CONFIRMATIONS) else [None]
    assert receipt
    assert not receipt.is_successful
    shop.poll()
    assert (shop.deposits(payment), shop.balance()) == ([], (0, 0))


def test_address_is_case_insensitive(shop) -> None:
    payment = shop.open(20 * USD)
    shop.chain.pay(address(payment).lower(), "10")
    shop.chain.pay("0x" + address(payment)[2:].upper(), "10")
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    assert shop.paid(payment) == 20 * USD


def test_transfers_in_one_block_are_separate_deposits(shop) -> None:
    first, second = shop.open(), shop.open()
    for _ in range(3):
        shop.chain.pay(address(first), 1)
        shop.chain.pay(address(second), 2)
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    assert (shop.paid(first), shop.paid(second)) == (3 * USD, 6 * USD)


def test_new_watcher_resumes_at_the_stored_position(shop) -> None:
    payment = shop.open()
    shop.chain.pay(address(payment), 40)
    shop.chain.mine(2)
    shop.poll()
    shop.chain.pay(address(payment), 60)
    shop.chain.mine(2)
    assert shop.another_watcher().poll(30)
    assert (shop.states(payment), shop.paid(payment)) == (["CREDITED", "SEEN"], 40 * USD)
    shop.chain.mine(2)
    assert shop.another_watcher().poll(30)
    assert shop.paid(payment) == 100 * USD


class Crash(Exception):
    pass


def test_stored_transfers_are_booked_after_a_crash(shop) -> None:
    payment = shop.open()
    shop.chain.pay(address(payment), 100)
    shop.chain.mine(CONFIRMATIONS)
    crashing = shop.another_watcher()

    class Bookings:
        def settle_in(self, *_: object) -> None:
            raise Crash

    crashing._booker._booking = Bookings()  # the transfers that were read are stored, and none is booked
    assert crashing.poll(30)
    assert shop.deposits(payment) == []
    shop.chain.behave(fail_rate=1)
    with pytest.raises(Unavailable):
        shop.another_watcher().poll(30)
    assert (shop.paid(payment), shop.states(payment)) == (100 * USD, ["CREDITED"])


def test_concurrent_watchers_credit_once(shop) -> None:
    payments = [shop.open(10 * USD) for _ in range(5)]
    for payment in payments:
        shop.chain.pay(address(payment), 10)
    shop.chain.mine(CONFIRMATIONS)
    watchers = [shop.another_watcher() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        looked = list(pool.map(lambda one: one.poll(30), watchers * 3))
    assert any(looked)
    assert [shop.paid(payment) for payment in payments] == [10 * USD] * 5
    assert shop.balance() == (50 * USD, 0)


def test_watchers_without_the_lock_credit_once(shop) -> None:
    payment = shop.open()
    shop.chain.pay(address(payment), 100)
    shop.chain.mine(CONFIRMATIONS)
    watchers = [shop.another_watcher() for _ in range(4)]

    def look(watcher) -> str:
        try:
            watcher._poll(watcher._node.within(30))  # without the lock
        except Exception as error:  # noqa: BLE001 - whatever happened, it is counted
            return type(error).__name__
        return ""

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(look, watchers)) <= {"", "Aborted"}
    shop.poll()
    assert (shop.paid(payment), shop.balance()) == (100 * USD, (100 * USD, 0))


def read_until(shop) -> int:
    return int(store.position(shop.db, CHAIN_ID).read_number)


def test_watcher_stops_with_the_process(shop) -> None:
    shop.use(block_range=1)
    first, last = read_until(shop), shop.chain.mine(1_000)
    stop = threading.Event()
    thread = threading.Thread(target=shop.watcher.run, args=[stop])
    thread.start()
    eventually(lambda: read_until(shop) > first)
    stop.set()
    thread.join()
    assert read_until(shop) < last


def test_confirming_a_payment_reads_the_chain(shop) -> None:
    payment = shop.open()
    shop.chain.pay(address(payment), 100)
    shop.chain.mine(CONFIRMATIONS)
    assert shop.features.payments.confirm(shop.organization_id, payment.id).state is State.SUCCEEDED


def test_gap_of_many_blocks_is_read_in_bounded_ranges(new_shop) -> None:
    shop = new_shop(block_range=100)
    shop.poll()
    payment = shop.open()
    shop.chain.pay(address(payment), 60)
    shop.chain.mine(1_000)
    shop.chain.pay(address(payment), 40)
    shop.chain.mine(CONFIRMATIONS)
    shop.chain.behave(log_range_limit=100)
    tokens_only = [one for one in shop.settings.coins if one.contract]
    shop.use(coins=tokens_only)
    eventually(lambda: shop.poll() or shop.paid(payment) == 100 * USD, within_s=60)


def test_each_payment_has_its_own_stable_address(shop) -> None:
    payments = [shop.open() for _ in range(5)]
    assert len({one.external_id for one in payments}) == 5
    for one in payments:
        again = shop.provider.open(one)
        assert (again.external_id, again.instructions) == (one.external_id, one.instructions)
    with ThreadPoolExecutor(4) as pool:
        opened = set(pool.map(lambda one: shop.provider.open(one).external_id, payments[:1] * 8))
    assert opened == {payments[0].external_id}
    new = replace(payments[0], id=uuid4())
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda one: shop.provider.open(one).external_id, [new] * 8))) == 1


def test_payment_expires_when_the_rate_of_its_coin_does(shop) -> None:
    token, native = shop.open(token="USDC"), shop.open(token="ETH")
    assert token.expires_at
    assert native.expires_at
    assert abs(token.expires_at - token.created_at - timedelta(hours=24)) < timedelta(minutes=1)
