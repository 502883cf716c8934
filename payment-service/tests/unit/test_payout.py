"""A payout's money follows its state, in any order of bank reports."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_service.payouts.model import Payout, PayoutReused, PayoutStateInvalid, State
from payment_service.providers.model import BankAccount, TransferState, TransferStatus
from payment_service.providers.wise.model import transfer_status

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
def test_ledger_transfers_follow_the_payouts_state(states: list[str]) -> None:
    payout = RESERVED.sent_to(BANK, AT)
    place = "PUBLISHER_PENDING"
    keys: list[str] = []
    for state in states:
        after = payout.apply(transfer_status(state), AT)
        if after != payout and (transfer := after.transfer_from(payout.state)):
            assert transfer.debit.kind == place
            place = transfer.credit.kind
            keys.append(transfer.key)
        payout = after
    assert place == PLACE[payout.state]
    assert len(keys) == len(set(keys))
    if any(state in ("cancelled", "funds_refunded") for state in states):
        assert payout.state is State.FAILED


@pytest.mark.parametrize("before", ["processing", "outgoing_payment_sent"])
def test_bounced_transfer_that_is_delivered_later_stays_paid(before: str) -> None:
    payout = RESERVED.sent_to(BANK, AT)
    for state in (before, "bounced_back", "processing"):
        payout = payout.apply(transfer_status(state), AT)
        assert payout.state is not State.FAILED
    assert payout.apply(transfer_status("outgoing_payment_sent"), AT).state is State.PAID
    assert payout.apply(transfer_status("cancelled"), AT).state is State.FAILED
    assert payout.apply(transfer_status("funds_refunded"), AT).state is State.FAILED


def test_payout_refuses_verbs_that_do_not_apply_in_its_state() -> None:
    cancelled, sending = RESERVED.cancelled(AT), RESERVED.sent_to(BANK, AT)
    assert cancelled.cancelled(AT) is cancelled
    assert sending.sent_to(BANK, AT) is sending
    with pytest.raises(PayoutStateInvalid, match="CANCELLED cannot be sent"):
        cancelled.sent_to(BANK, AT)
    with pytest.raises(PayoutStateInvalid, match="SENDING cannot be cancelled"):
        sending.cancelled(AT)
    with pytest.raises(PayoutReused):
        sending.sent_to(BankAccount("Eve", iban=BANK.iban), AT)


def test_status_of_an_unsent_payout_changes_nothing() -> None:
    for payout in (RESERVED, RESERVED.cancelled(AT)):
        assert payout.apply(TransferStatus(TransferState.PAID), AT) is payout
        assert payout.apply(TransferStatus(TransferState.FAILED), AT) is payout


@pytest.mark.parametrize("before", ["processing", "outgoing_payment_sent"])
@given(parts=st.lists(st.none() | st.integers(0, 80_000_000), min_size=1))
def test_returned_part_of_a_payout_is_payable_and_the_rest_in_suspense(before: str, parts: list[int | None]) -> None:
    payout = replace(RESERVED.sent_to(BANK, AT), transfer_id="1").apply(transfer_status(before), AT)
    amount = payout.amount_micros
    balances = {"PUBLISHER_PENDING": 0, "PUBLISHER_PAID": 0, "PUBLISHER_PAYABLE": 0, "SUSPENSE": 0}
    balances[PLACE[payout.state]] = amount
    keys: list[str] = []
    most = 0
    for part in parts:
        most = max(most, amount if part is None else min(part, amount))
        after = payout.apply(TransferStatus(TransferState.FAILED, "bounced", part), AT)
        for one in after.transfers_since(payout, "WISE") if after != payout else []:
            balances[one.debit.kind] -= one.amount_micros
            balances[one.credit.kind] += one.amount_micros
            keys.append(one.key)
        payout = after
        assert (balances["PUBLISHER_PAYABLE"], balances["SUSPENSE"]) == (most, amount - most)
        assert payout.total_returned_micros == most
    assert len(keys) == len(set(keys))
