"""Incoming money repays debt first; outgoing money beyond the balance becomes debt."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from payment_service.ledger.model import Account, Transfer, Wallet

WALLET = Wallet(UUID(int=1), "USD")
OUTSIDE = WALLET.clearing("STRIPE")
micros = st.integers(1, 2**53)


def after(transfers: list[Transfer], balances: dict[Account, int]) -> tuple[int, int]:
    """The available balance and the debt after the transfers are posted."""
    now = dict(balances)
    for one in transfers:
        assert one.amount_micros > 0
        now[one.debit] = now.get(one.debit, 0) - one.amount_micros
        now[one.credit] = now.get(one.credit, 0) + one.amount_micros
    return now[WALLET.available], now[WALLET.debt]


def before(available: int, debt: int) -> dict[Account, int]:
    return {WALLET.available: available, WALLET.debt: -debt}


@given(micros, st.integers(0, 2**53))
def test_incoming_money_repays_debt_first(amount: int, debt: int) -> None:
    paid = Transfer("DEPOSIT", OUTSIDE, WALLET.available, amount, UUID(int=5), "k")
    made = WALLET.incoming(paid, before(0, debt))
    assert after(made, before(0, debt)) == (max(0, amount - debt), min(0, amount - debt))
    assert made[0] == paid
    assert {one.reference for one in made} == {paid.reference}


@given(micros, st.integers(0, 2**53))
def test_outgoing_amount_beyond_the_balance_becomes_debt(amount: int, available: int) -> None:
    taken = Transfer("DISPUTE", WALLET.available, OUTSIDE, amount, UUID(int=5), "k")
    made = WALLET.outgoing(taken, before(available, 0))
    assert after(made, before(available, 0)) == (max(0, available - amount), min(0, available - amount))
    assert sum(one.amount_micros for one in made) == amount
    assert len({one.key for one in made}) == len(made)


@given(micros, micros)
def test_outgoing_amount_increases_an_existing_debt(amount: int, debt: int) -> None:
    taken = Transfer("DISPUTE", WALLET.available, OUTSIDE, amount, UUID(int=5), "k")
    assert after(WALLET.outgoing(taken, before(0, debt)), before(0, debt)) == (0, -debt - amount)


@given(micros, st.integers(0, 2**53))
def test_repayment_is_capped_to_the_debt(amount: int, debt: int) -> None:
    made = WALLET.repayment(amount, before(0, debt), UUID(int=5), "k")
    assert sum(one.amount_micros for one in made) == min(amount, debt)
