"""Refunds and disputes end in the same state and balances whatever the order of provider reports."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from payment_service.disputes import model as disputes
from payment_service.disputes.model import Dispute
from payment_service.ledger.model import Account, Phase, Transfer, Wallet
from payment_service.refunds import model as refunds
from payment_service.refunds.model import Details, Refund

AT = datetime(2026, 1, 1, tzinfo=UTC)
LATER = AT + timedelta(minutes=1)
PAYMENT, OWNER = UUID(int=1), UUID(int=2)
WALLET = Wallet(OWNER, "USD")
AMOUNT = 100


class Ledger:
    """Balances in memory, with the database's rules: reservations are not available, keys are unique."""

    def __init__(self, available_micros: int) -> None:
        self.balances = {WALLET.available: available_micros, WALLET.debt: 0}
        self.pending: dict[str, int] = {}
        self.keys: set[str] = set()

    def available(self, accounts: Sequence[Account]) -> Mapping[Account, int]:
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
        available = self.available([WALLET.available])[WALLET.available]
        debt = self.balances[WALLET.debt]
        assert available >= 0 >= debt
        assert not (available and debt)

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


def report_refund(ledger: Ledger, before: Refund, state: refunds.State) -> Refund:
    after = before.apply("re_1", state, "", LATER)
    ledger.post(after.transfers_from(before.state, ledger.available(after.accounts)))
    return after


def report_dispute(ledger: Ledger, before: Dispute | None, state: disputes.State, fee_micros: int) -> Dispute:
    if before is None:
        after = dispute(state, fee_micros)
        after = after.frozen(ledger.available(after.accounts)) if state is disputes.State.OPEN else after
    else:
        after = before.apply(state, "", fee_micros, LATER)
    if after != before:
        ledger.post([*after.transfers_since(before, ledger.available(after.accounts)), *after.fee_since(before)])
    return after


def orders(states: Sequence[str]) -> list[tuple[str, ...]]:
    """Every order of these reports, with each report twice."""
    return sorted(set(itertools.permutations([*states, *states])))


ENDS = [("PENDING", "SUCCEEDED"), ("PENDING", "FAILED"), ("PENDING", "SUCCEEDED", "FAILED")]


@pytest.mark.parametrize("states", ENDS, ids="+".join)
def test_refund_ends_in_the_same_state_in_any_order_of_reports(states: tuple[str, ...]) -> None:
    is_returned = "FAILED" in states
    for order in orders(states):
        ledger, current = Ledger(AMOUNT), refund()
        ledger.post(current.reservation())
        assert ledger.available([WALLET.available]) == {WALLET.available: 0}
        for state in order:
            current = report_refund(ledger, current, refunds.State(state))
        assert current.state == states[-1]
        assert current.net_micros == (0 if is_returned else AMOUNT)
        assert ledger.money == (AMOUNT if is_returned else 0, 0)


@pytest.mark.parametrize(("available", "left", "debt"), [(AMOUNT, 0, 0), (30, 0, 70), (0, 0, AMOUNT), (150, 50, 0)])
def test_external_refund_of_spent_money_becomes_debt_until_it_is_returned(available: int, left: int, debt: int) -> None:
    ledger = Ledger(available)
    external = refund(refunds.State.SUCCEEDED, asked_by=None, external_id="re_1")
    ledger.post(external.outgoing(ledger.available(external.accounts)))
    assert ledger.money == (left, debt)
    assert report_refund(ledger, external, refunds.State.PENDING) is external
    report_refund(ledger, external, refunds.State.FAILED)
    assert ledger.money == (available, 0)


def test_rejected_refund_that_was_sent_after_all_is_booked() -> None:
    ledger, current = Ledger(AMOUNT), refund()
    ledger.post(current.reservation())
    rejected = current.apply(None, refunds.State.FAILED, "no", LATER)
    ledger.post(rejected.transfers_from(current.state, ledger.available(current.accounts)))
    assert (rejected.is_rejected, ledger.money) == (True, (AMOUNT, 0))
    made = report_refund(ledger, rejected, refunds.State.PENDING)
    assert (made.state, made.failure_message, ledger.money) == (refunds.State.SUCCEEDED, "", (0, 0))
    back = report_refund(ledger, made, refunds.State.FAILED)
    assert (back.is_rejected, ledger.money) == (False, (AMOUNT, 0))


def test_pending_refund_has_a_reason_and_ignores_repeated_reports() -> None:
    waiting = refund().waiting("no answer", LATER)
    assert (waiting.pending_reason, waiting.updated_at) == ("no answer", LATER)
    assert waiting.waiting("no answer", LATER + timedelta(1)) is waiting
    known = waiting.apply("re_1", refunds.State.PENDING, "", LATER)
    assert (known.is_unsent, "has not finished" in known.pending_reason) == (False, True)
    assert known.apply("re_1", refunds.State.PENDING, "", LATER + timedelta(1)) is known


@pytest.mark.parametrize("parts", [(30,), (30, 70), (30, 70, None), (70, 30), (None,), (0, 50), (130,)])
@pytest.mark.parametrize("spent", [0, 60])
def test_partly_returned_refund_is_booked_once_with_the_rest_in_suspense(
    parts: tuple[int | None, ...], spent: int
) -> None:
    ledger, current = Ledger(AMOUNT), refund(refunds.State.SUCCEEDED, external_id="1")
    ledger.post(current.outgoing(ledger.available(current.accounts)))
    spend = Transfer("HOLD", WALLET.available, WALLET.clearing("CAMPAIGN"), spent, PAYMENT, "hold")
    if spent:
        ledger.post(WALLET.outgoing(spend, ledger.available(current.accounts)))
    most = 0
    for part in parts:
        most = max(most, AMOUNT if part is None else min(part, AMOUNT))
        after = current.apply("1", refunds.State.FAILED, "bounced", LATER, Details(returned_micros=part))
        ledger.post(after.transfers_since(current, ledger.available([*after.accounts_changed_since(current)])))
        current = after
        assert (current.total_returned_micros, current.net_micros) == (most, AMOUNT - most)
        assert ledger.balances.get(current.suspense, 0) == AMOUNT - most
        assert ledger.money == (max(0, most - spent), max(0, spent - most))


@pytest.mark.parametrize("sent", [70, AMOUNT, 130])
@pytest.mark.parametrize("debt", [0, 20])
def test_refund_debits_the_sent_amount_not_the_reserved_one(sent: int, debt: int) -> None:
    ledger, current = Ledger(AMOUNT), refund()
    ledger.post(current.reservation())
    if debt:
        recall = Transfer("REVERSAL", WALLET.available, WALLET.clearing("WISE"), debt, PAYMENT, "recall")
        ledger.post(WALLET.outgoing(recall, ledger.available(current.accounts)))
    after = current.apply("re_1", refunds.State.SUCCEEDED, "", LATER, Details(amount_micros=sent))
    ledger.post(after.transfers_since(current, ledger.available(after.accounts)))
    assert after.amount_micros == sent
    assert ledger.money == (max(0, AMOUNT - sent - debt), max(0, sent + debt - AMOUNT))


def test_only_a_current_report_confirms_a_refund_that_its_chain_had_dropped() -> None:
    back = refund(refunds.State.FAILED, external_id="1:0x1", reversals=1)
    assert back.apply("1:0x1", refunds.State.SUCCEEDED, "", LATER) is back
    again = back.apply("1:0x1", refunds.State.SUCCEEDED, "", LATER, Details(is_current=True))
    assert again.state is refunds.State.SUCCEEDED
    unconfirmed = again.apply("1:0x1", refunds.State.PENDING, "", LATER, Details(pending_reason="why", is_current=True))
    assert (unconfirmed.state, unconfirmed.pending_reason) == (refunds.State.SUCCEEDED, "why")


@pytest.mark.parametrize("end", ["WON", "LOST", "LOST+WON"])
@pytest.mark.parametrize("available", [0, 30, AMOUNT, 150])
@pytest.mark.parametrize("incoming", [0, 40])
def test_dispute_ends_in_the_same_state_in_any_order_of_reports(end: str, available: int, incoming: int) -> None:
    states = ["OPEN", *end.split("+")]
    taken = 0 if states[-1] == "WON" else AMOUNT
    had = available + incoming
    for order in orders(states):
        ledger, current = Ledger(available), None
        for number, state in enumerate(order):
            # The fee may be reported later than the dispute, and repeatedly.
            current = report_dispute(ledger, current, disputes.State(state), fee_micros=15 if number else 0)
            if number == 1 and incoming:
                deposit = Transfer("DEPOSIT", WALLET.clearing("STRIPE"), WALLET.available, incoming, PAYMENT, "deposit")
                ledger.post(WALLET.incoming(deposit, ledger.available([WALLET.available, WALLET.debt])))
        assert current is not None
        assert (current.state, current.disputed_micros) == (states[-1], taken)
        assert ledger.money == (max(0, had - taken), max(0, taken - had)), order
        assert ledger.balances[current.fees] == -15


def test_dispute_freezes_at_most_the_available_balance() -> None:
    for available, frozen in ((0, 0), (30, 30), (AMOUNT, AMOUNT), (150, AMOUNT)):
        ledger = Ledger(available)
        opened = report_dispute(ledger, None, disputes.State.OPEN, 0)
        assert opened.frozen_micros == frozen
        assert sum(ledger.pending.values()) == frozen
