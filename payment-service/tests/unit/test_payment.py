"""A payment only moves to a higher state, in any order of reports."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_service.payments.model import ABANDONED_AFTER, IncomingFunds, Outcome, Payment, Report, State
from payment_service.providers.stripe.messages import payment_report as report

AT = datetime(2026, 1, 1, tzinfo=UTC)
OPEN = Payment(
    id=UUID(int=1),
    organization_id=UUID(int=2),
    provider="STRIPE",
    state=State.PENDING,
    amount_micros=500_000_000,
    currency_code="USD",
    idempotency_key=None,
    external_id="pi",
    created_at=AT,
    updated_at=AT,
)
REPORTED = [State.PENDING, State.PROCESSING, State.FAILED, State.EXPIRED]
ASKED = OPEN.amount_micros
LATER = AT + timedelta(hours=1)


def reported(*states: State) -> Payment:
    payment = OPEN
    for state in states:
        payment = payment.apply(Report("pi", state), AT)
    return payment


def credited(payment: Payment, *amounts: int, at: datetime = AT) -> Payment:
    for amount_micros in amounts:
        payment = payment.credited(amount_micros, at, at)
    return payment


@given(st.lists(st.sampled_from(REPORTED), min_size=1))
def test_reports_in_any_order_end_in_the_highest_state(states: list[State]) -> None:
    assert reported(*states).state is max(states, key=REPORTED.index)
    assert reported(*states, *states[::-1]) == reported(*states)


@given(st.lists(st.sampled_from(REPORTED)), st.lists(st.sampled_from([*REPORTED, State.SUCCEEDED])))
def test_paid_payment_stays_paid_after_any_report(before: list[State], after: list[State]) -> None:
    payment = credited(reported(*before), ASKED)
    for state in after:
        payment = payment.apply(Report("pi", state), AT)
    assert (payment.state, payment.paid_micros) == (State.SUCCEEDED, ASKED)


def test_success_is_trusted_only_with_funds() -> None:
    assert reported(State.SUCCEEDED).state is State.PENDING


@pytest.mark.parametrize(
    ("amounts", "outcome", "state"),
    [
        ((ASKED,), Outcome.EXACT, State.SUCCEEDED),
        ((ASKED - 1,), Outcome.UNDERPAID, State.PROCESSING),
        ((ASKED - 1, 1), Outcome.EXACT, State.SUCCEEDED),
        ((ASKED - 1, 2), Outcome.OVERPAID, State.SUCCEEDED),
        ((ASKED + 1,), Outcome.OVERPAID, State.SUCCEEDED),
        ((ASKED, 1), Outcome.REPEATED, State.SUCCEEDED),
    ],
    ids=["exact", "less", "in two parts", "in two parts, more", "more", "again"],
)
def test_outcome_compares_paid_and_requested_amounts(amounts: tuple[int, ...], outcome: Outcome, state: State) -> None:
    paid = credited(OPEN, *amounts)
    assert (paid.outcome, paid.state, paid.paid_micros) == (outcome, state, sum(amounts))


def test_deposit_after_expiry_is_credited_as_late() -> None:
    until = replace(OPEN, expires_at=AT + timedelta(minutes=1))
    for payment in (reported(State.EXPIRED), until):
        late = credited(payment, ASKED - 1, at=LATER)
        assert (late.outcome, late.state, late.paid_micros) == (Outcome.LATE, State.SUCCEEDED, ASKED - 1)


def test_deposit_seen_before_expiry_is_not_late() -> None:
    until = replace(OPEN, expires_at=AT + timedelta(minutes=1))
    assert until.credited(ASKED, LATER, AT).outcome is Outcome.EXACT


def test_closed_underpaid_payment_succeeds() -> None:
    closed = credited(OPEN, 1).apply(Report("pi", State.EXPIRED), AT)
    assert (closed.state, closed.outcome, closed.is_open) == (State.SUCCEEDED, Outcome.UNDERPAID, False)


def test_reversed_payment_is_unpaid() -> None:
    assert credited(OPEN, ASKED).reversed(ASKED, LATER) == replace(OPEN, updated_at=LATER)
    part = credited(OPEN, ASKED, 5).reversed(ASKED, LATER)
    assert (part.state, part.outcome, part.paid_micros) == (State.PROCESSING, Outcome.UNDERPAID, 5)


def test_payment_state_follows_refunds_and_disputes() -> None:
    paid = credited(OPEN, ASKED)
    assert paid.refunding(1, AT).state is State.SUCCEEDED
    refunded = paid.refunding(ASKED, AT)
    assert (refunded.state, refunded.net_paid_micros) == (State.REFUNDED, 0)
    assert refunded.refunding(-ASKED, AT) == paid
    disputed = paid.refunding(1, AT).disputing(2, AT)
    assert (disputed.state, disputed.net_paid_micros) == (State.DISPUTED, ASKED - 3)
    assert disputed.disputing(-2, AT) == paid.refunding(1, AT)


def test_unpaid_payment_is_abandoned_after_its_expiry() -> None:
    later = AT + ABANDONED_AFTER
    assert OPEN.is_abandoned(later)
    assert not OPEN.is_abandoned(later - timedelta(seconds=1))
    assert reported(State.FAILED).is_abandoned(later)
    assert not credited(OPEN, ASKED).is_abandoned(later)
    assert replace(OPEN, expires_at=LATER).is_abandoned(LATER)


@pytest.mark.parametrize(
    ("intent", "state"),
    [
        ({"status": "requires_payment_method"}, State.PENDING),
        ({"status": "requires_payment_method", "last_payment_error": {"message": "no"}}, State.FAILED),
        ({"status": "requires_action"}, State.PENDING),
        ({"status": "processing", "last_payment_error": {"message": "no"}}, State.PROCESSING),
        ({"status": "succeeded", "amount_received": 7}, State.SUCCEEDED),
        ({"status": "canceled"}, State.EXPIRED),
        ({"status": "something new"}, State.PENDING),
        ({}, State.PENDING),
    ],
)
def test_stripe_intent_status_maps_to_payment_state(intent: dict[str, object], state: State) -> None:
    assert report(intent).state is state


def test_stripe_report_has_the_received_amount() -> None:
    intent = {"id": "pi", "status": "succeeded", "amount": 50_000, "amount_received": 40_000, "currency": "usd"}
    assert report(intent).incoming == (IncomingFunds("pi", 400_000_000, "USD"),)
    assert not report({**intent, "amount_received": None}).incoming
    assert report({**intent, "currency": "jpy"}).incoming == (IncomingFunds("pi", 40_000_000_000, "JPY"),)
