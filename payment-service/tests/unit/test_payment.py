"""A payment only ever moves up, whatever it is told and in whatever order."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_service.payments.model import ABANDONED_AFTER, Payment, Report, State
from payment_service.payments.providers.stripe import report

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
    failure_message="",
    created_at=AT,
    updated_at=AT,
)
TOLD = [State.PENDING, State.PROCESSING, State.FAILED, State.EXPIRED, State.SUCCEEDED]


def told(*states: State) -> Payment:
    payment = OPEN
    for state in states:
        payment = payment.told(Report("pi", state, 50_000, "USD"), AT)
    return payment


@given(st.lists(st.sampled_from(TOLD), min_size=1))
def test_news_in_any_order_ends_at_the_highest_state(states: list[State]) -> None:
    assert told(*states).state is max(states, key=TOLD.index)
    assert told(*states, *states[::-1]) == told(*states)


@pytest.mark.parametrize(("amount_minor", "currency"), [(49_999, "USD"), (50_001, "USD"), (50_000, "EUR"), (0, "NONE")])
def test_another_amount_or_currency_is_not_paid(amount_minor: int, currency: str) -> None:
    payment = OPEN.told(Report("pi", State.SUCCEEDED, amount_minor, currency), AT)
    assert payment.state is State.FAILED
    assert f"{amount_minor} {currency}" in payment.failure_message
    assert payment.told(Report("pi", State.SUCCEEDED, 50_000, "USD"), AT).state is State.SUCCEEDED


def test_a_currency_without_cents_is_compared_in_its_own_units() -> None:
    yen = replace(OPEN, currency_code="JPY")
    assert yen.told(Report("pi", State.SUCCEEDED, 500, "JPY"), AT).state is State.SUCCEEDED
    assert yen.told(Report("pi", State.SUCCEEDED, 50_000, "JPY"), AT).state is State.FAILED


def test_only_what_waits_for_the_customer_is_abandoned() -> None:
    later = AT + ABANDONED_AFTER + timedelta(seconds=1)
    assert OPEN.is_abandoned(later)
    assert not OPEN.is_abandoned(later - timedelta(seconds=2))
    assert not told(State.PROCESSING).is_abandoned(later)


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
def test_an_intents_status_says_where_the_payment_is(intent: dict[str, object], state: State) -> None:
    assert report(intent).state is state


def test_what_was_received_counts_and_not_what_was_asked() -> None:
    intent = {"id": "pi", "status": "succeeded", "amount": 50_000, "amount_received": 40_000, "currency": "usd"}
    assert report(intent) == Report("pi", State.SUCCEEDED, 40_000, "USD")
    assert report({**intent, "amount_received": None}).amount_minor == 0
