"""A bank recall reverses the recalled amount; the bank's fee beyond it is the platform's."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from payment_service.deposits.model import Deposit, State
from payment_service.ledger.model import Wallet
from payment_service.payments.model import Recall

AT = datetime(2026, 1, 1, tzinfo=UTC)
WALLET = Wallet(UUID(int=2), "USD")
DEPOSIT = Deposit(
    id=UUID(int=1), provider="WISE", external_key="TRANSFER-1", payment_id=UUID(int=3), organization_id=UUID(int=2),
    state=State.CREDITED, amount_micros=100, currency_code="USD", asset="", asset_amount=None, rate=None, detail={},
    reversals=0, created_at=AT, updated_at=AT,
)  # fmt: skip


@pytest.mark.parametrize("before", [0, 30])
@pytest.mark.parametrize(("line", "fee"), [(1, 0), (70, 0), (105, 5)])
def test_recall_reverses_at_most_the_remaining_amount(before: int, line: int, fee: int) -> None:
    deposit, recall = replace(DEPOSIT, recalled_micros=before), Recall("a line", line)
    taken, fee = min(line, 100 - before), max(fee, line - (100 - before))
    back = deposit.reversal(WALLET, recall)
    assert (back.amount_micros, back.reference, back.credit) == (taken, deposit.payment_id, WALLET.clearing("WISE"))
    beyond = deposit.recall_fee(recall, back)
    assert [(one.kind, one.debit.kind, one.credit, one.amount_micros) for one in beyond] == (
        [("FEE", "FEES", back.credit, fee)] if fee else []
    )
    after = deposit.recalled(taken, AT)
    assert after.remaining_micros == 100 - before - taken
    assert after.state is (State.CREDITED if after.remaining_micros else State.REVERSED)


def test_each_recall_has_its_own_transfer_key() -> None:
    keys = {DEPOSIT.reversal(WALLET, Recall(key, 1)).key for key in ("a", "b")}
    assert len(keys | {DEPOSIT.reversal(WALLET).key}) == 3
