"""The rules of a payout's life."""

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
ASKER, STAFF, OTHER_STAFF = UUID(int=1), UUID(int=2), UUID(int=3)
ACCOUNT = BankAccount("Ada Lovelace", iban="DE89370400440532013000")


def new(amount_micros: int = 5_000_000, currency_code: str = "USD", account: BankAccount = ACCOUNT) -> NewPayout:
    return NewPayout(UUID(int=9), amount_micros, currency_code, account)


def pending() -> Payout:
    return Payout.requested(UUID(int=7), UUID(int=8), ASKER, new(), AT).carried_on(AT)


@pytest.mark.parametrize("iban", ["DE89370400440532013000", "GB82WEST12345698765432", "FR1420041010050500013M02606"])
def test_check_digits_of_a_real_iban_fit(iban: str) -> None:
    assert is_iban(iban)


@pytest.mark.parametrize("iban", ["DE88370400440532013000", "GB82WEST12345698765423", "FR1420041010050500013N02606"])
def test_check_digits_show_a_typo_in_an_iban(iban: str) -> None:
    assert not is_iban(iban)
    with pytest.raises(InvalidArgument) as refused:
        new(account=BankAccount("Ada", iban=iban)).check()
    assert [violation.field for violation in refused.value.violations] == ["destination.iban"]


@pytest.mark.parametrize("number", ["021000012", "123456789"])
def test_a_check_digit_shows_a_typo_in_a_routing_number(number: str) -> None:
    new(account=BankAccount("Ada", routing_number="021000021", account_number="12345678")).check()
    with pytest.raises(InvalidArgument) as refused:
        new(account=BankAccount("Ada", routing_number=number, account_number="12345678")).check()
    assert [violation.field for violation in refused.value.violations] == ["destination.unitedStates.routingNumber"]


@pytest.mark.parametrize(
    ("amount_micros", "currency_code"), [(1_000_001, "USD"), (1_500_000, "JPY"), (1_000_000, "XXX")]
)
def test_an_amount_must_be_payable(amount_micros: int, currency_code: str) -> None:
    with pytest.raises(InvalidArgument):
        new(amount_micros, currency_code).check()


def test_nobody_approves_what_they_asked_for() -> None:
    with pytest.raises(PayoutSelfApproval):
        pending().approve(ASKER, AT)


def test_an_exact_repeat_of_an_approval_changes_nothing() -> None:
    approved = pending().approve(STAFF, AT)
    assert approved.approve(STAFF, AT + timedelta(days=1)) is approved
    with pytest.raises(PayoutStateInvalid) as refused:
        approved.approve(OTHER_STAFF, AT)
    assert refused.value.metadata == {"state": "APPROVED"}


def test_an_exact_repeat_of_a_rejection_changes_nothing() -> None:
    rejected = pending().reject(STAFF, "wrong name", AT)
    assert rejected.reject(STAFF, "wrong name", AT) is rejected
    for by, reason in ((STAFF, "something else"), (OTHER_STAFF, "wrong name")):
        with pytest.raises(PayoutStateInvalid) as refused:
            rejected.reject(by, reason, AT)
        assert refused.value.metadata == {"state": "REJECTED"}


def test_what_was_decided_cannot_be_decided_otherwise() -> None:
    with pytest.raises(PayoutStateInvalid):
        pending().approve(STAFF, AT).reject(STAFF, "", AT)
    with pytest.raises(PayoutStateInvalid):
        pending().reject(STAFF, "", AT).approve(STAFF, AT)


@pytest.mark.parametrize("news", [*permutations(Outcome), *permutations([Outcome.PROCESSING, Outcome.PAID])])
def test_news_of_a_transfer_may_come_in_any_order(news: tuple[Outcome, ...]) -> None:
    payout = pending().approve(STAFF, AT)
    for outcome in (*news, *news):
        payout = payout.settled(outcome, "account closed" if outcome is Outcome.FAILED else "", AT)
    returned = Outcome.FAILED in news
    assert payout.state is (State.FAILED if returned else State.PAID)
    assert payout.reason == ("account closed" if returned else "")


@pytest.mark.parametrize("outcome", Outcome)
def test_news_of_a_payout_that_nobody_sent_change_nothing(outcome: Outcome) -> None:
    for payout in (pending(), pending().reject(STAFF, "no", AT), pending().reject(STAFF, "no", AT).carried_on(AT)):
        assert payout.settled(outcome, "", AT) is payout


def test_tries_come_further_and_further_apart_up_to_a_quarter_of_an_hour() -> None:
    payout, waits = pending(), []
    for _ in range(20):
        payout = payout.delayed(AT)
        waits.append((payout.retry_at - AT).total_seconds())
    assert waits[:3] == [10, 20, 40]
    assert max(waits) == waits[-1] == 900
