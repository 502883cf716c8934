"""The amount of a coin that is shown to a customer, and the amount that is credited for it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adlib.clock import FixedClock
from adlib.money import floor_to_minor, micros_per_minor
from payment_service.payments.model import Outcome, Payment, State
from payment_service.providers.crypto.addresses.model import Address
from payment_service.providers.crypto.messages import Block
from payment_service.providers.crypto.model import Chain, Coin, amount_worth, worth_micros
from payment_service.providers.crypto.transfers.model import Transfer
from payment_service.providers.crypto.valuation.service import ConfiguredRates, Valuation

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID = UUID(int=1)
MOST_MINOR = 99_999_999

currencies = st.sampled_from(["EUR", "GBP", "JPY", "USD"])
rates = st.decimals("0.0001", "100000", places=4)


def payment(amount_micros: int, currency_code: str, provider: str, instructions: dict[str, object]) -> Payment:
    return Payment(
        id=ID,
        organization_id=ID,
        provider=provider,
        state=State.PENDING,
        amount_micros=amount_micros,
        currency_code=currency_code,
        idempotency_key=None,
        external_id="there",
        created_at=NOW,
        updated_at=NOW,
        instructions=instructions,
    )


def paid_in(coin: Coin, asked: Payment, rate: Decimal, amount: int) -> Payment:
    """The payment after this many of the coin's smallest units were credited."""
    found = valued(coin, asked.currency_code, rate, amount)
    return asked.credited(found.amount_micros, NOW, NOW) if found else asked


def valued(coin: Coin, currency_code: str, rate: Decimal, amount: int) -> Transfer | None:
    chain = Chain(1, "Chain", "http://node", 1, [coin], dust_micros=1)
    address = Address(ID, ID, 0, "0x1", 1, "C", currency_code, rate, NOW + timedelta(days=1), NOW)
    block = Block(1, "0xb", "0xa", int(NOW.timestamp()))
    return Valuation(chain, ConfiguredRates(), FixedClock(NOW)).transfer(block, "0xt", "0", address, coin, amount)


def in_coin(amount_micros: int, currency_code: str, decimals: int, rate: Decimal) -> tuple[Coin, Payment, int]:
    coin = Coin("C", decimals, {currency_code: rate})
    shown = amount_worth(amount_micros, coin, rate)
    instructions = {"amount": str(shown), "decimals": decimals, "rate": f"{rate:f}"}
    return coin, payment(amount_micros, currency_code, "CRYPTO", instructions), shown


@given(
    minor=st.integers(100, MOST_MINOR), currency_code=currencies, decimals=st.integers(0, 18), rate=rates,
    off=st.sampled_from([0, 1]),
)  # fmt: skip
def test_shown_amount_of_a_coin_pays_exactly(
    minor: int, currency_code: str, decimals: int, rate: Decimal, off: int
) -> None:
    amount_micros = minor * micros_per_minor(currency_code)
    coin, asked, shown = in_coin(amount_micros, currency_code, decimals, rate)
    # One more of the coin's units, if it is worth less than a minor unit of the currency.
    more = off if worth_micros(1, coin, rate) < micros_per_minor(currency_code) else 0
    after = paid_in(coin, asked, rate, shown + more)
    assert after.outcome is Outcome.EXACT
    assert after.state is State.SUCCEEDED
    assert after.paid_micros >= amount_micros
    assert after.paid_micros % micros_per_minor(currency_code) == 0
    assert after.paid_micros <= worth_micros(shown + more, coin, rate), "nothing is booked that did not move"


@given(minor=st.integers(100, MOST_MINOR), currency_code=currencies, decimals=st.integers(6, 18), rate=rates)
def test_one_coin_unit_less_is_exact_and_credits_at_most_its_value(
    minor: int, currency_code: str, decimals: int, rate: Decimal
) -> None:
    amount_micros = minor * micros_per_minor(currency_code)
    coin, asked, shown = in_coin(amount_micros, currency_code, decimals, rate)
    after = paid_in(coin, asked, rate, shown - 1)
    assert after.outcome is Outcome.EXACT
    assert after.state is State.SUCCEEDED
    assert after.paid_micros <= worth_micros(shown - 1, coin, rate)
    assert after.paid_micros % micros_per_minor(currency_code) == 0


@given(
    currency_code=currencies, decimals=st.integers(0, 18), rate=rates, sent=st.integers(1, 10**30)
)  # fmt: skip
def test_deposit_is_whole_minor_units_and_never_more_than_its_value(
    currency_code: str, decimals: int, rate: Decimal, sent: int
) -> None:
    coin = Coin("C", decimals, {currency_code: rate})
    worth, unit = worth_micros(sent, coin, rate), micros_per_minor(currency_code)
    found = valued(coin, currency_code, rate, sent)
    if found is None:
        assert worth < unit or worth > 10**17
    else:
        assert found.amount_micros % unit == 0
        assert worth - unit < found.amount_micros <= worth


@pytest.mark.parametrize("provider", ["STRIPE", "WISE"])
@given(minor=st.integers(100, MOST_MINOR), currency_code=currencies, off=st.sampled_from([-1, 0, 1]))
def test_payment_in_its_own_currency_is_exact_to_the_minor_unit(
    provider: str, minor: int, currency_code: str, off: int
) -> None:
    unit = micros_per_minor(currency_code)
    asked = payment(minor * unit, currency_code, provider, {"reference": "ADP-1", "client_secret": "s"})
    after = asked.credited((minor + off) * unit, NOW, NOW)
    assert after.outcome is {-1: Outcome.UNDERPAID, 0: Outcome.EXACT, 1: Outcome.OVERPAID}[off]
    assert after.state is (State.PROCESSING if off < 0 else State.SUCCEEDED)


@pytest.mark.parametrize(("sent", "paid", "outcome"), [
    (3_333_333, 499, Outcome.EXACT),
    (3_333_334, 500, Outcome.EXACT),
    (3_333_335, 500, Outcome.EXACT),
    (3_320_000, 498, Outcome.UNDERPAID),
    (3_350_000, 502, Outcome.OVERPAID),
])  # fmt: skip
def test_yen_payment_in_a_coin_is_compared_in_whole_yen(sent: int, paid: int, outcome: Outcome) -> None:
    coin, asked, shown = in_coin(500_000_000, "JPY", 6, Decimal(150))
    assert shown == 3_333_334
    after = paid_in(coin, asked, Decimal(150), sent)
    assert (after.paid_micros, after.outcome) == (paid * 1_000_000, outcome)


def test_second_deposit_after_an_exact_one_is_a_repeat() -> None:
    coin, asked, shown = in_coin(500_000_000, "JPY", 6, Decimal(150))
    once = paid_in(coin, asked, Decimal(150), shown - 1)
    assert paid_in(coin, once, Decimal(150), shown).outcome is Outcome.REPEATED


@given(amount_micros=st.integers(0, 10**18), currency_code=currencies)
def test_rounding_down_removes_less_than_one_minor_unit(amount_micros: int, currency_code: str) -> None:
    rest = amount_micros - floor_to_minor(amount_micros, currency_code)
    assert 0 <= rest < micros_per_minor(currency_code)
