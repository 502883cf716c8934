"""Spend is distributed exactly, and statements cover every transfer that changes a balance."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from uuid import UUID

from adplatform.payment.v1.payment_pb2 import StatementLine
from hypothesis import given
from hypothesis import strategies as st

from payment_service.debts.model import Debtor, Earnings
from payment_service.holds.model import Earner, Escrow, Spend
from payment_service.ledger.model import Account, Kind, Transfer, Wallet, deposit, payable
from payment_service.payouts.model import Payout, State

ESCROW = Escrow(UUID(int=1), UUID(int=2), "USD")
EARNER = Earner(UUID(int=3), UUID(int=4), 7000)
OWN = {Kind.AVAILABLE, Kind.ESCROW, Kind.DEBT}
ENDS = (State.CANCELLED, State.PAID, State.FAILED)
MIGRATION = files("payment_service") / "migrations" / "payment-0014-debts.sql"
most = st.integers(0, 2**53)


@given(most, st.none() | st.integers(0, 10_000))
def test_spend_is_distributed_completely(posted: int, points: int | None) -> None:
    earner = None if points is None else Earner(UUID(int=3), UUID(int=4), points)
    moved: dict[Account, int] = {}
    for transfer in Spend(ESCROW, posted, "k", earner).transfers(posted):
        assert transfer.amount_micros > 0
        moved[transfer.debit] = moved.get(transfer.debit, 0) - transfer.amount_micros
        moved[transfer.credit] = moved.get(transfer.credit, 0) + transfer.amount_micros
    kinds = {account.kind: amount for account, amount in moved.items()}
    assert sum(moved.values()) == 0
    assert kinds.get(Kind.ESCROW, 0) == -posted
    assert kinds.get(Kind.SPENT, 0) == 0
    earned = kinds.get(Kind.PUBLISHER_PAYABLE, 0)
    assert earned == posted * (points or 0) // 10_000


def test_transfers_of_a_spend_have_distinct_keys() -> None:
    keys = [transfer.key for transfer in Spend(ESCROW, 10, "k", EARNER).transfers(10)]
    other = Spend(Escrow(UUID(int=1), UUID(int=9), "USD"), 10, "k", EARNER)
    assert len({*keys, *(transfer.key for transfer in other.transfers(10))}) == 6


def test_account_id_is_deterministic() -> None:
    assert ESCROW.account.id == Escrow(UUID(int=1), UUID(int=2), "USD").account.id
    others = [
        ESCROW.wallet,
        Escrow(UUID(int=1), UUID(int=2), "EUR").account,
        Escrow(UUID(int=2), UUID(int=1), "USD").account,
    ]
    assert len({ESCROW.account.id, *(other.id for other in others)}) == 4


def test_every_transfer_that_changes_a_balance_has_a_statement_line_kind() -> None:
    """A new kind of transfer must be added here, and to the contract where it changes a figure of the balance."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    payout = Payout(
        UUID(int=5), UUID(int=3), UUID(int=4), 7, "USD", State.PAID, None, None, None, None, "", 0, at, at
    )  # fmt: skip
    wallet, owed = Wallet(UUID(int=1), "USD"), {Account(Kind.AVAILABLE, "USD", UUID(int=1)): 3}
    owed[wallet.debt] = -4
    suspense, fees = Account(Kind.SUSPENSE, "USD", None, "WISE"), Account(Kind.FEES, "USD", None, "WISE")
    outside = Account(Kind.PROVIDER_CLEARING, "USD", None, "WISE")
    earnings = {UUID(int=4): Earnings(payable(UUID(int=3), UUID(int=4), "USD"))}
    debtor = Debtor(UUID(int=1), "USD", 7, earnings)
    taken = [
        Transfer(kind, wallet.available, wallet.clearing("STRIPE"), 7, UUID(int=5), kind)
        for kind in ("REFUND", "DISPUTE", "REVERSAL", "CORRECTION")
    ]
    made = [
        *wallet.incoming(deposit(UUID(int=5), UUID(int=1), "STRIPE", 7, "USD"), owed),
        *(part for one in taken for part in wallet.outgoing(one, owed)),
        ESCROW.hold(7, "k"),
        ESCROW.release(7, "k"),
        *Spend(ESCROW, 7, "k", EARNER).transfers(7),
        payout.reserve_transfer(),
        *(replace(payout, state=state).transfer_from(State.PROCESSING) for state in ENDS),
        Transfer("SUSPENSE", outside, suspense, 7, UUID(int=5), "s"),
        Transfer("FEE", fees, outside, 7, UUID(int=5), "f"),
        *(debtor.transfer(UUID(int=4), change, f"e{change}") for change in (7, -7)),
    ]
    changing = [one for one in made if {one.debit.kind, one.credit.kind} & OWN or one.credit.kind is Kind.SPENT]
    assert {one.kind for one in changing} == set(StatementLine.Kind.keys()) - {"KIND_UNSPECIFIED"}
    assert all(
        {one.debit.kind, one.credit.kind} & {Kind.AVAILABLE, Kind.DEBT} or one.credit.kind is Kind.SPENT
        for one in changing
    )
    allowed = MIGRATION.read_text().split("is_transfer(kind text)")[1].split("END\n")[0]
    assert {one.kind for one in made} == set(re.findall(r"'(\w+)'", allowed))


def test_wallet_accounts_match_those_of_deposits_and_escrows() -> None:
    wallet, made = Wallet(UUID(int=1), "USD"), deposit(UUID(int=5), UUID(int=1), "STRIPE", 7, "USD")
    assert (made.debit, made.credit) == (wallet.clearing("STRIPE"), wallet.available)
    assert wallet.available == ESCROW.wallet
