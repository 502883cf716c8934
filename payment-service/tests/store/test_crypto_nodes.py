"""A node that lags, refuses, hangs or returns invalid responses credits nothing wrong and blocks no caller."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files

import psycopg
import pytest
from yoyo import get_backend, read_migrations

from adlib.db import migrate
from adlib.errors import Unavailable
from adsandbox.chain.coins import CHAIN_ID
from adtesting import eventually
from payment_service.__main__ import MIGRATIONS
from payment_service.payments.model import Outcome, Payment, State
from payment_service.providers.crypto.addresses import store as addresses
from payment_service.providers.crypto.chain import store
from payment_service.providers.crypto.client import Node
from payment_service.providers.model import ProviderUnavailable

CONFIRMATIONS, USD = 4, 1_000_000


def address(payment: Payment) -> str:
    return str(payment.instructions["address"])


def test_lagging_node_reverses_nothing(shop) -> None:
    payment = shop.open()
    shop.chain.pay(address(payment), 100)
    shop.chain.mine(2)
    shop.poll()
    shop.chain.behave(behind_blocks=2)
    shop.poll()
    assert shop.states(payment) == ["SEEN"]
    shop.chain.behave(behind_blocks=0)
    shop.chain.mine(2)
    shop.poll()
    assert shop.paid(payment) == 100 * USD


def test_refused_block_range_is_halved(shop) -> None:
    payment = shop.open()
    shop.chain.pay(address(payment), 100)
    shop.chain.mine(60)
    shop.chain.behave(log_range_limit=7)
    shop.poll()
    assert shop.paid(payment) == 100 * USD
    assert shop.watcher._reader._range <= 14


def test_refused_batch_is_halved(shop) -> None:
    payment = shop.open()
    shop.chain.pay(address(payment), 100)
    shop.chain.mine(40)
    shop.chain.behave(batch_limit=3)

    def has_credited() -> bool:
        with suppress(Unavailable):
            shop.poll()
        return bool(shop.paid(payment) == 100 * USD)

    eventually(has_credited)


def test_block_range_grows_again_on_a_chain_without_tokens(new_shop) -> None:
    shop = new_shop()
    shop.use(coins=[one for one in shop.settings.coins if not one.contract])
    shop.poll()
    shop.watcher._reader._range = 1
    shop.chain.mine(4)
    shop.poll()
    assert shop.watcher._reader._range > 1


def test_late_logs_are_found_when_their_block_is_confirmed(shop) -> None:
    payment = shop.open()
    shop.chain.pay(address(payment), 100)
    shop.chain.mine(CONFIRMATIONS - 1)
    shop.chain.behave(hide_logs=True)
    shop.poll()
    assert shop.deposits(payment) == []
    shop.chain.behave(hide_logs=False)
    shop.chain.mine()
    shop.poll()
    assert shop.paid(payment) == 100 * USD


def test_node_that_is_down_blocks_no_caller_and_is_retried(shop) -> None:
    shop.chain.behave(fail_rate=1, status=500)
    payment = shop.open()
    assert payment.instructions["address"]
    with pytest.raises(Unavailable):
        shop.poll()
    assert "does not answer" in shop.features.payments.confirm(shop.organization_id, payment.id).pending_reason
    stop = threading.Event()
    shop.use(poll_s=0.01)
    thread = threading.Thread(target=shop.watcher.run, args=[stop])
    thread.start()
    shop.chain.behave(fail_rate=0)
    shop.chain.pay(address(payment), 100)
    shop.chain.mine(CONFIRMATIONS)
    eventually(lambda: shop.paid(payment) == 100 * USD)
    stop.set()
    thread.join()
    assert shop.get(payment).pending_reason == ""


def test_slow_node_does_not_block_a_caller(shop) -> None:
    payment = shop.open()
    shop.chain.behave(delay_ms=600_000)
    with pytest.raises(Unavailable, match="does not answer"):
        shop.another_watcher().poll(0.2)
    with pytest.raises(Unavailable, match="does not answer"):
        Node(shop.settings.rpc_url, CHAIN_ID).within(0.05).head_and_block(0)
    assert shop.open().external_id != payment.external_id


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"jsonrpc": "2.0", "id": 0}', b"[1, 2]", b"<html>"])
def test_invalid_response_of_a_node_is_unavailable(shop, serving: Callable[[bytes], str], body: bytes) -> None:
    shop.use(rpc_url=serving(body))
    with pytest.raises(Unavailable):
        shop.poll()


def test_node_of_another_chain_is_not_trusted(shop) -> None:
    payment = shop.open()
    shop.chain.pay(address(payment), 100)
    shop.chain.mine(CONFIRMATIONS)
    shop.watcher._node = Node(shop.settings.rpc_url, CHAIN_ID + 1)
    with pytest.raises(Unavailable, match="another chain"):
        shop.poll()
    assert shop.deposits(payment) == []


def test_block_range_is_halved_when_a_node_does_not_answer(shop) -> None:
    shop.chain.mine()
    shop.chain.behave(fail_rate=1)
    with pytest.raises(Unavailable):
        shop.watcher._reader.logs(shop.watcher._node, 1, 400)
    assert shop.watcher._reader._range == shop.settings.block_range // 2


def test_trickling_response_of_a_node_times_out(trickling: str) -> None:
    started = time.monotonic()
    with pytest.raises(Unavailable, match="ReadTimeout"):
        Node(trickling, CHAIN_ID).within(0.3).head_and_block(0)
    assert time.monotonic() - started < 5


def hidden(shop, payment: Payment) -> None:
    """A payment, paid in a block that had all its confirmations before the node served its logs."""
    shop.chain.behave(hide_logs=True)
    shop.chain.pay(address(payment), 100)
    shop.chain.mine(CONFIRMATIONS + 1)
    shop.poll()
    shop.chain.behave(hide_logs=False)
    shop.chain.mine(20)
    shop.poll()
    assert shop.deposits(payment) == []


def test_logs_served_after_confirmation_are_found_by_confirming_the_payment(shop) -> None:
    payment, other = shop.open(), shop.open()
    hidden(shop, payment)
    for _ in range(2):
        paid = shop.features.payments.confirm(shop.organization_id, payment.id)
        assert (paid.state, paid.outcome, shop.balance()) == (State.SUCCEEDED, Outcome.EXACT, (100 * USD, 0))
    shop.features.payments.confirm(shop.organization_id, other.id)
    assert (shop.states(payment), shop.deposits(other)) == (["CREDITED"], [])


def test_logs_served_after_confirmation_are_found_when_the_payment_expires(shop, own_database_url: str) -> None:
    payment = shop.open()
    hidden(shop, payment)
    with psycopg.connect(own_database_url) as sql:
        sql.execute("UPDATE payments SET expires_at = now() - interval '1 minute'")
    shop.features.poll.check(shop.get(payment))
    assert shop.states(payment) == ["CREDITED"]
    assert (shop.get(payment).outcome, shop.balance()) == (Outcome.LATE, (100 * USD, 0))


def test_chain_without_tokens_is_not_searched(new_shop) -> None:
    shop = new_shop()
    shop.poll()
    shop = new_shop(coins=[one for one in shop.settings.coins if not one.contract])
    payment = shop.open(token="ETH")
    shop.chain.behave(fail_rate=1)
    assert shop.provider.close(payment).state is State.EXPIRED
    shop.chain.behave(fail_rate=0)


def test_address_without_a_stored_block_is_searched_in_the_history(shop, own_database_url: str) -> None:
    payment = shop.open()
    with psycopg.connect(own_database_url) as sql:
        sql.execute("UPDATE crypto_addresses SET made_number = NULL")
    hidden(shop, payment)
    assert shop.features.payments.confirm(shop.organization_id, payment.id).paid_micros == 100 * USD


def test_unfinished_search_resumes_and_keeps_the_payment_open(shop, own_database_url: str) -> None:
    started, payment = store.position(shop.db, CHAIN_ID), shop.open()
    hidden(shop, payment)
    made = addresses.get(shop.db, shop.organization_id, payment.id)
    assert started
    assert made
    assert made.made_number == started.read_number
    assert not shop.watcher.search(made, 0)
    shop.chain.behave(behind_blocks=10)
    assert shop.provider.close(payment).state is State.PENDING
    shop.chain.behave(behind_blocks=0)
    after = store.position(shop.db, CHAIN_ID)
    assert after
    with psycopg.connect(own_database_url) as sql:
        sql.execute("UPDATE crypto_addresses SET searched_number = %s", [after.confirmed_number - 1])
    for paid in (0, 100 * USD):  # the rest of the search first, then a whole search
        assert shop.provider.close(payment).state is State.EXPIRED
        assert shop.paid(payment) == paid


def test_search_rejects_logs_of_another_block(shop) -> None:
    payment = shop.open()
    hidden(shop, payment)
    with shop.db.transaction() as tx:
        position = store.lock_position(tx, CHAIN_ID)
        store.delete_blocks(tx, CHAIN_ID, position.confirmed_number, position.read_number)
        first = position.confirmed_number - 24
        store.add_blocks(tx, CHAIN_ID, dict.fromkeys(range(first, position.confirmed_number), "0xgone"))
    with pytest.raises(Unavailable, match="changed"):
        shop.provider.close(payment)
    assert (shop.deposits(payment), shop.balance()) == ([], (0, 0))


def outage(shop):
    return shop.provider.outage({"chain_id": CHAIN_ID})


def test_lagging_node_is_reported_and_takes_payments_until_the_chain_is_stale(new_shop, own_database_url: str) -> None:
    shop = new_shop()
    shop.chain.mine(3)
    shop.poll()
    assert outage(shop) is None
    shop.chain.behave(behind_blocks=2)
    shop.poll()
    found = outage(shop)
    assert found
    assert (found.is_lasting, "2 blocks behind" in found.reason) == (False, True)
    with psycopg.connect(own_database_url, autocommit=True) as sql:
        sql.execute("UPDATE crypto_chains SET current_at = current_at - interval '10 minutes'")
    found = outage(shop)
    assert found
    assert (found.is_lasting, "could not be read since" in found.reason) == (True, True)
    with pytest.raises(ProviderUnavailable, match="2 blocks behind"):
        shop.open()
    shop.chain.behave(behind_blocks=0)
    shop.poll()
    assert outage(shop) is None
    assert shop.open().instructions["address"]


def test_payments_on_a_chain_with_an_old_newest_block_are_refused(new_shop, own_database_url: str) -> None:
    shop = new_shop(head_age_s=900)
    shop.chain.mine()
    shop.poll()
    payment = shop.open()
    with psycopg.connect(own_database_url, autocommit=True) as sql:
        sql.execute("UPDATE crypto_chains SET head_at = now() - interval '1 hour'")
    with pytest.raises(ProviderUnavailable, match="lags behind"):
        shop.open()
    assert "lags behind" in shop.features.payments.details(shop.organization_id, payment.id)[0].pending_reason


def test_waiting_payment_is_assigned_no_address_on_a_halted_chain(shop, own_database_url: str) -> None:
    payment = shop.open()
    with psycopg.connect(own_database_url, autocommit=True) as sql:
        # The state after a crash before the address was stored.
        sql.execute("DELETE FROM crypto_addresses")
        sql.execute("UPDATE payments SET external_id = NULL, instructions = '{}', expires_at = NULL")
        sql.execute("UPDATE crypto_chains SET halted_reason = 'too deep'")
    with pytest.raises(ProviderUnavailable, match="too deep"):
        shop.features.opener.open(payment.id)
    waiting = shop.features.payments.confirm(shop.organization_id, payment.id)
    assert (waiting.external_id, "too deep" in waiting.pending_reason) == (None, True)


def test_payment_on_an_unconfigured_chain_has_an_outage(shop) -> None:
    found = shop.provider.outage({"chain_id": CHAIN_ID + 1})
    assert found
    assert "not watched any more" in found.reason


def test_migration_leaves_progress_unknown_until_the_first_poll(fresh_database, chain, xpub) -> None:
    url = fresh_database("chain_progress")
    migrate(url, *MIGRATIONS)
    backend = get_backend(url.replace("postgresql://", "postgresql+psycopg://", 1))
    every = read_migrations(str(files("payment_service") / "migrations"))
    mine = every.filter(lambda one: one.id >= "payment-0019")
    add = "INSERT INTO crypto_chains (chain_id, read_number, confirmed_number, updated_at) VALUES (%s, 5, 5, now())"
    backend.rollback_migrations(backend.to_rollback(mine))
    with psycopg.connect(url, autocommit=True) as sql:
        sql.execute(add, [CHAIN_ID])
        migrate(url, *MIGRATIONS)
        # As the previous release writes it.
        sql.execute(add, [CHAIN_ID + 1])
        rows = sql.execute("SELECT current_at, head_at, fault FROM crypto_chains").fetchall()
        assert rows == [(None, None, "")] * 2
        backend.rollback_migrations(backend.to_rollback(mine))
        assert sql.execute("SELECT count(*) FROM crypto_chains").fetchone() == (2,)
    backend.connection.close()
