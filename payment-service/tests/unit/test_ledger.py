"""Spend is shared out to the last micro."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from payment_service.ledger.model import Account, Earner, Escrow, Kind, Spend

ESCROW = Escrow(UUID(int=1), UUID(int=2), "USD")
EARNER = Earner(UUID(int=3), UUID(int=4), 7000)
most = st.integers(0, 2**53)


@given(most, st.none() | st.integers(0, 10_000))
def test_what_leaves_the_escrow_arrives_and_nothing_is_kept_between(posted: int, points: int | None) -> None:
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


def test_the_transfers_of_a_spend_have_keys_of_their_own() -> None:
    keys = [transfer.key for transfer in Spend(ESCROW, 10, "k", EARNER).transfers(10)]
    other = Spend(Escrow(UUID(int=1), UUID(int=9), "USD"), 10, "k", EARNER)
    assert len({*keys, *(transfer.key for transfer in other.transfers(10))}) == 6


def test_an_account_is_the_same_wherever_it_is_asked() -> None:
    assert ESCROW.account.id == Escrow(UUID(int=1), UUID(int=2), "USD").account.id
    others = [
        ESCROW.wallet,
        Escrow(UUID(int=1), UUID(int=2), "EUR").account,
        Escrow(UUID(int=2), UUID(int=1), "USD").account,
    ]
    assert len({ESCROW.account.id, *(other.id for other in others)}) == 4
