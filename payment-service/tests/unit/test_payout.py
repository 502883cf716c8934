"""A payout's money is where its state says, whatever the bank says and in whatever order."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_service.payouts.model import BankAccount, Payout, PayoutReused, PayoutStateInvalid, State
from payment_service.payouts.wise import outcome

AT = datetime(2026, 1, 1, tzinfo=UTC)
BANK = BankAccount("Ada Zone", iban="DE89370400440532013000")
RESERVED = Payout(
    UUID(int=1), UUID(int=2), UUID(int=3), 70_000_000, "USD", State.RESERVED, None, None, None, None, "", 0, AT, AT
)  # fmt: skip
WISE = [
    "incoming_payment_waiting", "processing", "funds_converted", "outgoing_payment_sent", "bounced_back", "cancelled",
    "funds_refunded", "something new",
]  # fmt: skip
PLACE = {
    State.SENDING: "PUBLISHER_PENDING",
    State.PROCESSING: "PUBLISHER_PENDING",
    State.PAID: "PUBLISHER_PAID",
    State.FAILED: "PUBLISHER_PAYABLE",
}


@given(st.lists(st.sampled_from(WISE)))
def test_the_money_is_where_the_state_says(news: list[str]) -> None:
    payout = RESERVED.sent_to(BANK, AT)
    place = "PUBLISHER_PENDING"
    keys: list[str] = []
    for state in news:
        after = payout.apply(outcome(state), "", AT)
        if after != payout and (transfer := after.transfer_from(payout.state)):
            assert transfer.debit.kind == place
            place = transfer.credit.kind
            keys.append(transfer.key)
        payout = after
    assert place == PLACE[payout.state]
    assert len(keys) == len(set(keys))
    if any(state in ("cancelled", "funds_refunded") for state in news):
        assert payout.state is State.FAILED


@pytest.mark.parametrize("before", ["processing", "outgoing_payment_sent"])
def test_what_bounced_back_and_is_delivered_after_all_is_paid_and_not_given_back(before: str) -> None:
    payout = RESERVED.sent_to(BANK, AT)
    for state in (before, "bounced_back", "processing"):
        payout = payout.apply(outcome(state), "", AT)
        assert payout.state is not State.FAILED
    assert payout.apply(outcome("outgoing_payment_sent"), "", AT).state is State.PAID
    assert payout.apply(outcome("cancelled"), "", AT).state is State.FAILED
    assert payout.apply(outcome("funds_refunded"), "", AT).state is State.FAILED


def test_verbs_apply_only_where_they_make_sense() -> None:
    cancelled, sending = RESERVED.cancelled(AT), RESERVED.sent_to(BANK, AT)
    assert cancelled.cancelled(AT) is cancelled
    assert sending.sent_to(BANK, AT) is sending
    with pytest.raises(PayoutStateInvalid, match="CANCELLED cannot be sent"):
        cancelled.sent_to(BANK, AT)
    with pytest.raises(PayoutStateInvalid, match="SENDING cannot be cancelled"):
        sending.cancelled(AT)
    with pytest.raises(PayoutReused):
        sending.sent_to(BankAccount("Eve", iban=BANK.iban), AT)


def test_news_of_a_payout_that_is_not_sent_changes_nothing() -> None:
    for payout in (RESERVED, RESERVED.cancelled(AT)):
        assert payout.apply(State.PAID, "", AT) is payout
        assert payout.apply(State.FAILED, "", AT) is payout


@pytest.mark.parametrize("before", ["processing", "outgoing_payment_sent"])
@given(parts=st.lists(st.none() | st.integers(0, 80_000_000), min_size=1))
def test_what_comes_back_of_a_payout_is_the_publishers_and_the_rest_in_suspense(
    before: str, parts: list[int | None]
) -> None:
    payout = replace(RESERVED.sent_to(BANK, AT), transfer_id="1").apply(outcome(before), "", AT)
    amount = payout.amount_micros
    balances = {"PUBLISHER_PENDING": 0, "PUBLISHER_PAID": 0, "PUBLISHER_PAYABLE": 0, "SUSPENSE": 0}
    balances[PLACE[payout.state]] = amount
    keys: list[str] = []
    most = 0
    for part in parts:
        most = max(most, amount if part is None else min(part, amount))
        after = payout.apply(State.FAILED, "bounced", AT, part)
        for one in after.transfers_since(payout, "WISE") if after != payout else []:
            balances[one.debit.kind] -= one.amount_micros
            balances[one.credit.kind] += one.amount_micros
            keys.append(one.key)
        payout = after
        assert (balances["PUBLISHER_PAYABLE"], balances["SUSPENSE"]) == (most, amount - most)
        assert payout.came_back_micros == most
    assert len(keys) == len(set(keys))
