"""The comparison of earnings with the ledger."""

from collections.abc import Mapping
from uuid import UUID

import pytest

from publisher_service.balances.model import BalancesDiffer, Comparison


def check(earned: Mapping[str, int], credited: Mapping[str, int], since: Mapping[str, int]) -> Comparison:
    return Comparison(UUID(int=1), earned, credited, since)


def test_earnings_that_reached_or_passed_the_ledger_are_equal() -> None:
    for since in ({"USD": 9}, {"USD": 12, "EUR": 1}):
        caught_up = check({"USD": 5}, {"USD": 9}, since)
        assert not caught_up.is_behind
        caught_up.require_equal()


def test_earnings_below_the_ledger_differ() -> None:
    behind = check({}, {"USD": 9}, {"USD": 8})
    assert behind.is_behind
    with pytest.raises(BalancesDiffer, match="8 micros USD, the ledger has credited 9"):
        behind.require_equal()


@pytest.mark.parametrize("credited", [{"USD": 9}, {}])
def test_earnings_above_the_ledger_differ(credited: Mapping[str, int]) -> None:
    with pytest.raises(BalancesDiffer, match="10 micros USD"):
        check({"USD": 10}, credited, {"USD": 10}).require_equal()
