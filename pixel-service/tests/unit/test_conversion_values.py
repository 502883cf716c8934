"""Amounts, goals and transaction ids of conversions."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adlib.errors import InvalidField
from adlib.money import to_decimal
from pixel_service.conversions.model import (
    MAX_VALUE_MICROS,
    resolve_goal,
    units_to_micros,
    valid_transaction_id,
    valid_value_micros,
)
from pixel_service.pixels.model import Pixel


@given(st.integers(0, MAX_VALUE_MICROS))
def test_payout_is_converted_exactly(micros: int) -> None:
    assert units_to_micros(f"{to_decimal(micros):f}", "payout") == micros


@pytest.mark.parametrize(
    "text", ["-1", "1e3", "1.0000001", "1000000000.000001", "\u0661", "NaN", "1,5", " 1", ".5", "1."]
)
def test_malformed_payout_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="payout"):
        units_to_micros(text, "payout")


@pytest.mark.parametrize(("given_value", "micros"), [(0, 0), ("0", 0), (15, 15), ("1000000000000000", 10**15)])
def test_value_is_a_whole_number_or_its_digits(given_value: object, micros: int) -> None:
    assert valid_value_micros(given_value, "valueMicros") == micros


@pytest.mark.parametrize("value", [-1, 10**15 + 1, "-1", "1.5", 1.5, True, "", "²", [], "9" * 5000])
def test_malformed_value_is_refused(value: object) -> None:
    with pytest.raises(InvalidField, match="valueMicros"):
        valid_value_micros(value, "valueMicros")


@pytest.mark.parametrize("text", ["x" * 256, "a\0b", "a\nb"])
def test_transaction_id_is_at_most_255_printable_characters(text: str) -> None:
    assert valid_transaction_id("x" * 255, "txid") == "x" * 255
    with pytest.raises(InvalidField, match="txid"):
        valid_transaction_id(text, "txid")


def pixel(*goals: str) -> Pixel:
    return Pixel(uuid4(), uuid4(), uuid4(), "p", goals, "https://a.example", "USD", datetime.now(UTC))


def test_goal_must_be_one_of_the_pixels() -> None:
    assert resolve_goal(pixel("sale", "lead"), "lead") == "lead"
    assert resolve_goal(pixel("sale"), "") == "sale"
    for goals, goal in ((("sale", "lead"), ""), (("sale",), "other")):
        with pytest.raises(InvalidField, match="goal"):
            resolve_goal(pixel(*goals), goal)
