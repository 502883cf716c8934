"""Refunds and disputes in any order of news: one state, one sum, and never something to take beside something owed."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from payment_service.disputes import model as disputes
from payment_service.disputes.model import Dispute
from payment_service.ledger.model import Account, Phase, Transfer
from payment_service.ledger.wallet import Wallet
from payment_service.refunds import model as refunds
from payment_service.refunds.model import Details, Refund

AT = datetime(2026, 1, 1, tzinfo=UTC)
LATER = AT + timedelta(minutes=1)
PAYMENT, OWNER = UUID(int=1), UUID(int=2)
WALLET = Wallet(OWNER, "USD")
AMOUNT = 100


class Ledger:
    """Balances as the database keeps them: what is set aside cannot be taken, keys are used once."""

    def __init__(self, available_micros: int) -> None:
        self.balances = {WALLET.available: available_micros, WALLET.debt: 0}
        self.pending: dict[str, int] = {}
        self.keys: set[str] = set()

    def takeable(self, accounts: Sequence[Account]) -> Mapping[Account, int]:
        held = {WALLET.available: sum(self.pending.values())}
        return {account: self.balances.get(account, 0) - held.get(account, 0) for account in accounts}

    def post(self, transfers: Sequence[Transfer]) -> None:
        for one in transfers:
            assert one.key not in self.keys
            assert one.amount_micros > 0
            self.keys.add(one.key)
            if one.pending_key:
                assert self.pending.pop(one.pending_key) >= one.amount_micros
            if one.phase is Phase.PENDING:
                self.pending[one.key] = one.amount_micros
            elif one.phase is not Phase.VOIDED:
                self.balances[one.debit] = self.balances.get(one.debit, 0) - one.amount_micros
                self.balances[one.credit] = self.balances.get(one.credit, 0) + one.amount_micros
        takeable = self.takeable([WALLET.available])[WALLET.available]
        debt = self.balances[WALLET.debt]
        assert takeable >= 0 >= debt
        assert not (takeable and debt)

    @property
    def money(self) -> tuple[int, int]:
        assert not self.pending
        return self.balances[WALLET.available], -self.balances[WALLET.debt]


def refund(state: refunds.State = refunds.State.PENDING, **more: object) -> Refund:
    fields = {
        "id": UUID(int=3), "payment_id": PAYMENT, "organization_id": OWNER, "provider": "STRIPE",
        "amount_micros": AMOUNT, "currency_code": "USD", "state": state, "external_id": None, "reason": "",
        "sent_as": "", "asked_by": UUID(int=4), "created_at": AT, "updated_at": AT,
    }  # fmt: skip
    return Refund(**{**fields, **more})


def dispute(state: disputes.State, fee_micros: int = 0) -> Dispute:
    return Dispute(
        id=UUID(int=5), provider="STRIPE", external_id="du_1", payment_id=PAYMENT, organization_id=OWNER,
        amount_micros=AMOUNT, currency_code="USD", state=state, reason="", fee_micros=fee_micros, created_at=AT,
        updated_at=AT,
    )  # fmt: skip


def tell_refund(ledger: Ledger, before: Refund, state: refunds.State) -> Refund:
    after = before.apply("re_1", state, "", LATER)
    ledger.post(after.moved_from(before.state, ledger.takeable(after.accounts)))
    return after


def tell_dispute(ledger: Ledger, before: Dispute | None, state: disputes.State, fee_micros: int) -> Dispute:
    if before is None:
        after = dispute(state, fee_micros)
        after = after.frozen(ledger.takeable(after.accounts)) if state is disputes.State.OPEN else after
    else:
        after = before.apply(state, "", fee_micros, LATER)
    if after != before:
        ledger.post([*after.moved_from(before, ledger.takeable(after.accounts)), *after.fee_since(before)])
    return after


def orders(states: Sequence[str]) -> list[tuple[str, ...]]:
    """Every order of these, each of them twice."""
    return sorted(set(itertools.permutations([*states, *states])))


ENDS = [("PENDING", "SUCCEEDED"), ("PENDING", "FAILED"), ("PENDING", "SUCCEEDED", "FAILED")]


@pytest.mark.parametrize("states", ENDS, ids="+".join)
def test_a_refund_ends_the_same_in_every_order_of_its_news(states: tuple[str, ...]) -> None:
    is_back = "FAILED" in states
    for order in orders(states):
        ledger, told = Ledger(AMOUNT), refund()
        ledger.post(told.set_aside())
        assert ledger.takeable([WALLET.available]) == {WALLET.available: 0}
        for state in order:
            told = tell_refund(ledger, told, refunds.State(state))
        assert told.state == states[-1]
        assert told.going_micros == (0 if is_back else AMOUNT)
        assert ledger.money == (AMOUNT if is_back else 0, 0)


@pytest.mark.parametrize(("available", "left", "debt"), [(AMOUNT, 0, 0), (30, 0, 70), (0, 0, AMOUNT), (150, 50, 0)])
def test_what_went_back_past_us_is_a_debt_as_far_as_it_was_spent_and_pays_it_when_it_comes_back(
    available: int, left: int, debt: int
) -> None:
    ledger = Ledger(available)
    gone = refund(refunds.State.SUCCEEDED, asked_by=None, external_id="re_1")
    ledger.post(gone.taken(ledger.takeable(gone.accounts)))
    assert ledger.money == (left, debt)
    assert tell_refund(ledger, gone, refunds.State.PENDING) is gone
    tell_refund(ledger, gone, refunds.State.FAILED)
    assert ledger.money == (available, 0)


def test_a_refused_refund_that_was_made_nevertheless_is_taken() -> None:
    ledger, told = Ledger(AMOUNT), refund()
    ledger.post(told.set_aside())
    refused = told.apply(None, refunds.State.FAILED, "no", LATER)
    ledger.post(refused.moved_from(told.state, ledger.takeable(told.accounts)))
    assert (refused.is_refused, ledger.money) == (True, (AMOUNT, 0))
    made = tell_refund(ledger, refused, refunds.State.PENDING)
    assert (made.state, made.failure_message, ledger.money) == (refunds.State.SUCCEEDED, "", (0, 0))
    back = tell_refund(ledger, made, refunds.State.FAILED)
    assert (back.is_refused, ledger.money) == (False, (AMOUNT, 0))


def test_a_refund_that_waits_says_why_and_is_changed_only_by_what_is_new() -> None:
    waiting = refund().waiting("no answer", LATER)
    assert (waiting.pending_reason, waiting.updated_at) == ("no answer", LATER)
    assert waiting.waiting("no answer", LATER + timedelta(1)) is waiting
    known = waiting.apply("re_1", refunds.State.PENDING, "", LATER)
    assert (known.is_unsent, "has not finished" in known.pending_reason) == (False, True)
    assert known.apply("re_1", refunds.State.PENDING, "", LATER + timedelta(1)) is known


@pytest.mark.parametrize("parts", [(30,), (30, 70), (30, 70, None), (70, 30), (None,), (0, 50), (130,)])
@pytest.mark.parametrize("spent", [0, 60])
def test_what_comes_back_of_a_refund_is_booked_once_and_the_rest_is_in_suspense(
    parts: tuple[int | None, ...], spent: int
) -> None:
    ledger, told = Ledger(AMOUNT), refund(refunds.State.SUCCEEDED, external_id="1")
    ledger.post(told.taken(ledger.takeable(told.accounts)))
    spend = Transfer("HOLD", WALLET.available, WALLET.clearing("CAMPAIGN"), spent, PAYMENT, "hold")
    if spent:
        ledger.post(WALLET.take(spend, ledger.takeable(told.accounts)))
    most = 0
    for part in parts:
        most = max(most, AMOUNT if part is None else min(part, AMOUNT))
        after = told.apply("1", refunds.State.FAILED, "bounced", LATER, Details(returned_micros=part))
        ledger.post(after.moves_since(told, ledger.takeable([*after.touched_since(told)])))
        told = after
        assert (told.came_back_micros, told.going_micros) == (most, AMOUNT - most)
        assert ledger.balances.get(told.suspense, 0) == AMOUNT - most
        assert ledger.money == (max(0, most - spent), max(0, spent - most))


@pytest.mark.parametrize("sent", [70, AMOUNT, 130])
@pytest.mark.parametrize("debt", [0, 20])
def test_a_refund_takes_what_was_sent_whatever_was_set_aside(sent: int, debt: int) -> None:
    ledger, told = Ledger(AMOUNT), refund()
    ledger.post(told.set_aside())
    if debt:
        gone = Transfer("REVERSAL", WALLET.available, WALLET.clearing("WISE"), debt, PAYMENT, "recall")
        ledger.post(WALLET.take(gone, ledger.takeable(told.accounts)))
    after = told.apply("re_1", refunds.State.SUCCEEDED, "", LATER, Details(amount_micros=sent))
    ledger.post(after.moves_since(told, ledger.takeable(after.accounts)))
    assert after.amount_micros == sent
    assert ledger.money == (max(0, AMOUNT - sent - debt), max(0, sent + debt - AMOUNT))


def test_an_event_puts_no_refund_that_came_back_on_its_chain_again_and_asking_does() -> None:
    back = refund(refunds.State.FAILED, external_id="1:0x1", reversals=1)
    assert back.apply("1:0x1", refunds.State.SUCCEEDED, "", LATER) is back
    again = back.apply("1:0x1", refunds.State.SUCCEEDED, "", LATER, Details(is_current=True))
    assert again.state is refunds.State.SUCCEEDED
    doubtful = again.apply("1:0x1", refunds.State.PENDING, "", LATER, Details(pending_reason="why", is_current=True))
    assert (doubtful.state, doubtful.pending_reason) == (refunds.State.SUCCEEDED, "why")


@pytest.mark.parametrize("end", ["WON", "LOST", "LOST+WON"])
@pytest.mark.parametrize("available", [0, 30, AMOUNT, 150])
@pytest.mark.parametrize("arrives", [0, 40])
def test_a_dispute_ends_the_same_in_every_order_of_its_news(end: str, available: int, arrives: int) -> None:
    states = ["OPEN", *end.split("+")]
    taken = 0 if states[-1] == "WON" else AMOUNT
    had = available + arrives
    for order in orders(states):
        ledger, told = Ledger(available), None
        for number, state in enumerate(order):
            # The fee may be told later than the dispute, and by any of its news again.
            told = tell_dispute(ledger, told, disputes.State(state), fee_micros=15 if number else 0)
            if number == 1 and arrives:
                deposit = Transfer("DEPOSIT", WALLET.clearing("STRIPE"), WALLET.available, arrives, PAYMENT, "deposit")
                ledger.post(WALLET.put(deposit, ledger.takeable([WALLET.available, WALLET.debt])))
        assert told is not None
        assert (told.state, told.held_micros) == (states[-1], taken)
        assert ledger.money == (max(0, had - taken), max(0, taken - had)), order
        assert ledger.balances[told.fees] == -15


def test_a_dispute_freezes_no_more_than_there_is() -> None:
    for available, frozen in ((0, 0), (30, 30), (AMOUNT, AMOUNT), (150, AMOUNT)):
        ledger = Ledger(available)
        opened = tell_dispute(ledger, None, disputes.State.OPEN, 0)
        assert opened.frozen_micros == frozen
        assert sum(ledger.pending.values()) == frozen
