"""The payout's state machine."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from uuid import UUID

import pytest

from adlib.errors import InvalidArgument
from publisher_service.payouts.model import (
    BankAccount,
    NewPayout,
    Outcome,
    Payout,
    PayoutSelfApproval,
    PayoutStateInvalid,
    State,
    is_iban,
)

AT = datetime(2025, 3, 1, tzinfo=UTC)
REQUESTER, STAFF, OTHER_STAFF = UUID(int=1), UUID(int=2), UUID(int=3)
ACCOUNT = BankAccount("Ada Lovelace", iban="DE89370400440532013000")


def new(amount_micros: int = 5_000_000, currency_code: str = "USD", account: BankAccount = ACCOUNT) -> NewPayout:
    return NewPayout(UUID(int=9), amount_micros, currency_code, account)


def pending() -> Payout:
    return Payout.requested(UUID(int=7), UUID(int=8), REQUESTER, new(), AT).advanced(AT)


@pytest.mark.parametrize("iban", ["DE89370400440532013000", "GB82WEST12345698765432", "FR1420041010050500013M02606"])
def test_valid_iban_passes_its_checksum(iban: str) -> None:
    assert is_iban(iban)


@pytest.mark.parametrize("iban", ["DE88370400440532013000", "GB82WEST12345698765423", "FR1420041010050500013N02606"])
def test_iban_with_a_typo_is_refused(iban: str) -> None:
    assert not is_iban(iban)
    with pytest.raises(InvalidArgument) as refused:
        new(account=BankAccount("Ada", iban=iban)).check()
    assert [violation.field for violation in refused.value.violations] == ["destination.iban"]


@pytest.mark.parametrize("number", ["021000012", "123456789"])
def test_routing_number_with_a_typo_is_refused(number: str) -> None:
    new(account=BankAccount("Ada", routing_number="021000021", account_number="12345678")).check()
    with pytest.raises(InvalidArgument) as refused:
        new(account=BankAccount("Ada", routing_number=number, account_number="12345678")).check()
    assert [violation.field for violation in refused.value.violations] == ["destination.unitedStates.routingNumber"]


@pytest.mark.parametrize(
    ("amount_micros", "currency_code"), [(1_000_001, "USD"), (1_500_000, "JPY"), (1_000_000, "XXX")]
)
def test_amount_must_be_payable_in_its_currency(amount_micros: int, currency_code: str) -> None:
    with pytest.raises(InvalidArgument):
        new(amount_micros, currency_code).check()


def test_requester_cannot_approve_own_payout() -> None:
    with pytest.raises(PayoutSelfApproval):
        pending().approved(REQUESTER, AT)


def test_repeated_approval_changes_nothing() -> None:
    approved = pending().approved(STAFF, AT)
    assert approved.approved(STAFF, AT + timedelta(days=1)) is approved
    with pytest.raises(PayoutStateInvalid) as refused:
        approved.approved(OTHER_STAFF, AT)
    assert refused.value.metadata == {"state": "APPROVED"}


def test_repeated_rejection_changes_nothing() -> None:
    rejected = pending().rejected(STAFF, "wrong name", AT)
    assert rejected.rejected(STAFF, "wrong name", AT) is rejected
    for by, reason in ((STAFF, "something else"), (OTHER_STAFF, "wrong name")):
        with pytest.raises(PayoutStateInvalid) as refused:
            rejected.rejected(by, reason, AT)
        assert refused.value.metadata == {"state": "REJECTED"}


def test_decision_cannot_be_changed() -> None:
    with pytest.raises(PayoutStateInvalid):
        pending().approved(STAFF, AT).rejected(STAFF, "", AT)
    with pytest.raises(PayoutStateInvalid):
        pending().rejected(STAFF, "", AT).approved(STAFF, AT)


@pytest.mark.parametrize("outcomes", [*permutations(Outcome), *permutations([Outcome.PROCESSING, Outcome.PAID])])
def test_outcomes_may_arrive_in_any_order(outcomes: tuple[Outcome, ...]) -> None:
    payout = pending().approved(STAFF, AT)
    for outcome in (*outcomes, *outcomes):
        payout = payout.settled(outcome, "account closed" if outcome is Outcome.FAILED else "", AT)
    returned = Outcome.FAILED in outcomes
    assert payout.state is (State.FAILED if returned else State.PAID)
    assert payout.reason == ("account closed" if returned else "")


@pytest.mark.parametrize("outcome", Outcome)
def test_outcome_of_an_unsent_payout_changes_nothing(outcome: Outcome) -> None:
    for payout in (pending(), pending().rejected(STAFF, "no", AT), pending().rejected(STAFF, "no", AT).advanced(AT)):
        assert payout.settled(outcome, "", AT) is payout


def test_retry_delay_doubles_up_to_15_minutes() -> None:
    payout, waits = pending(), []
    for _ in range(20):
        payout = payout.delayed(AT)
        waits.append((payout.retry_at - AT).total_seconds())
    assert waits[:3] == [10, 20, 40]
    assert max(waits) == waits[-1] == 900
