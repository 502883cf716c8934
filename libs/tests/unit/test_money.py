"""Amounts are integer micros, and conversions lose nothing without an error."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adlib import money
from adlib.errors import InvalidField


@given(st.integers(0, 10**15), st.sampled_from(["USD", "EUR", "JPY"]))
def test_minor_units_round_trip(minor: int, currency: str) -> None:
    assert money.to_minor(money.from_minor(minor, currency), currency) == minor


def test_fraction_of_a_cent_is_refused() -> None:
    with pytest.raises(InvalidField) as refused:
        money.to_minor(1_000_001, "USD")
    assert refused.value.violations[0].field == "amountMicros"


def test_unsupported_currency_is_refused() -> None:
    with pytest.raises(money.CurrencyUnsupported):
        money.currency("XTS")
    assert money.currency("") == "USD"


@given(st.integers(0, 10**15), st.integers(0, 10_000))
def test_share_is_rounded_down_and_at_most_the_amount(amount: int, basis_points: int) -> None:
    part = money.share(amount, basis_points)
    assert 0 <= part <= amount
    assert part * 10_000 <= amount * basis_points < (part + 1) * 10_000


@given(st.integers(0, 10**15))
def test_decimal_units_are_exact(micros: int) -> None:
    assert money.from_decimal(money.to_decimal(micros)) == micros
    assert money.from_decimal(Decimal("1.2500009")) == 1_250_000
