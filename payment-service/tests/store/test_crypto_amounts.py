"""Deposits on a real chain are exact for currencies and coins with any number of decimals."""

from dataclasses import replace
from decimal import Decimal

import pytest

from adsandbox.chain.coins import CHAIN_ID
from payment_service.checkout.service import NewPayment
from payment_service.payments.model import Outcome, Payment, State

CONFIRMATIONS = 4
RATES = {"USD": Decimal("1.0001"), "EUR": Decimal("0.9217"), "GBP": Decimal("0.7893"), "JPY": Decimal(150)}


@pytest.fixture
def shop(new_shop):
    """A shop that accepts every coin in every currency."""
    coins = [replace(coin, rates=RATES) for coin in new_shop().settings.coins]
    made = new_shop(coins=coins)
    made.poll()
    return made


def ask(shop, micros: int, currency_code: str, token: str) -> Payment:
    choice = {"chain_id": CHAIN_ID, "token": token}
    return shop.features.checkout.create(NewPayment(shop.organization_id, "CRYPTO", micros, currency_code, "", choice))


def send(shop, payment: Payment, smallest: int, token: str) -> None:
    shop.chain.pay(str(payment.instructions["address"]), coin=token, smallest=str(smallest))


def is_sound(shop) -> bool:
    books = shop.balances.verify()
    return bool(books) and not any(
        one.sum_micros or one.difference_micros or one.payments_differing for one in books
    )  # fmt: skip


@pytest.mark.parametrize("token", ["USDC", "DAI", "ETH"])
def test_shown_amount_pays_exactly_in_every_currency(shop, token: str) -> None:
    amounts = {"USD": 25_010_000, "EUR": 33_330_000, "GBP": 7_770_000, "JPY": 500_000_000}
    asked = {code: ask(shop, micros, code, token) for code, micros in amounts.items()}
    for payment in asked.values():
        send(shop, payment, int(payment.instructions["amount"]), token)
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    for code, payment in asked.items():
        paid = shop.get(payment)
        assert (paid.state, paid.outcome, paid.paid_micros) == (State.SUCCEEDED, Outcome.EXACT, amounts[code])
        assert shop.balances.balance(shop.organization_id, code).available_micros == amounts[code]
    assert is_sound(shop)


def test_fractions_of_a_yen_are_not_booked(shop) -> None:
    shop.chain.mine(3)
    shop.poll()
    payment = ask(shop, 500_000_000, "JPY", "USDC")
    for smallest in (1_111_111, 3_000, 2_222_223):  # 166.67, 0.45 and 333.33 JPY
        send(shop, payment, smallest, "USDC")
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    paid = shop.get(payment)
    assert (paid.paid_micros, paid.outcome) == (499_000_000, Outcome.EXACT)
    assert sorted(one.amount_micros for one in shop.deposits(payment)) == [166_000_000, 333_000_000]
    shop.chain.reorg(CONFIRMATIONS + 1, keep=False)
    shop.poll()
    assert shop.balances.balance(shop.organization_id, "JPY").available_micros == 0
    assert is_sound(shop)
