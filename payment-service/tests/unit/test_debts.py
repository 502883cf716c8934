"""Earnings on hold equal the debt, capped to unpaid earnings."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from payment_service.debts.model import Debtor, Earnings, apportioned
from payment_service.ledger.model import Kind, payable

most = st.integers(0, 2**53)


@given(most, st.lists(most, max_size=6))
def test_amount_is_apportioned_exactly(amount: int, parts: list[int]) -> None:
    taken = apportioned(amount, dict(enumerate(parts)))
    assert sum(taken.values()) == min(amount, sum(parts))
    assert all(0 < micros <= parts[key] for key, micros in taken.items())


@st.composite
def earnings(draw: st.DrawFn) -> Earnings:
    on_hold = draw(most)
    return Earnings(payable(UUID(int=1), UUID(int=2), "USD"), on_hold, on_hold + draw(most), draw(most))


@given(most, st.lists(earnings(), max_size=5))
def test_earnings_on_hold_follow_the_debt(debt: int, of: list[Earnings]) -> None:
    debtor = Debtor(UUID(int=9), "USD", debt, {UUID(int=number): one for number, one in enumerate(of)})
    changes = debtor.changes
    after = sum(one.on_hold_micros for one in of) + sum(changes.values())
    assert after <= debt
    assert after == min(debt, sum(one.on_hold_micros + one.holdable_micros for one in of))
    for number, one in enumerate(of):
        change = changes.get(UUID(int=number), 0)
        assert -one.on_hold_micros <= change <= one.holdable_micros
        if change:
            transfer = debtor.transfer(UUID(int=number), change, "k")
            sides = [transfer.debit.kind, transfer.credit.kind]
            expected = [Kind.PUBLISHER_PAYABLE, Kind.PUBLISHER_ON_HOLD]
            assert sides == (expected if change > 0 else expected[::-1])
