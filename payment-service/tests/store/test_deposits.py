"""Deposits are credited once, reversed, suspended and assigned; reversals of spent money become debt."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import text

from adlib.clock import SystemClock
from adlib.db import Database, Query
from adlib.errors import Aborted
from adlib.ids import new_id
from adlib.outbox import Outbox
from adtesting import eventually
from payment_service.balances.service import BalanceService
from payment_service.bulkhead import Bulkhead
from payment_service.checkout.service import NewPayment
from payment_service.deposits import store as deposits_store
from payment_service.deposits.model import Deposit, DepositAssigned, DepositNotAssignable, DepositNotFound
from payment_service.deposits.service import DepositService
from payment_service.features import PaymentFeatures
from payment_service.holds.model import Escrow
from payment_service.ledger import store as ledger
from payment_service.ledger.model import Account, Kind, Wallet
from payment_service.payments.model import (
    CurrencyMismatch,
    IncomingFunds,
    Outcome,
    Payment,
    PaymentNotFound,
    Report,
    State,
)
from payment_service.providers.model import Outage
from payment_service.providers.protocol import TakesPayments
from payment_service.providers.service import Providers

ASKED = 100_000_000
_WAITING = Query(
    text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
)


class FakeProvider(TakesPayments):
    """A provider whose deposits the test reports."""

    is_polled = False
    accepts_transfers = True

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Semaphore(0)

    def validate(self, choice: Mapping[str, Any], currency_code: str) -> Mapping[str, Any]:
        return choice

    def outage(self, choice: Mapping[str, Any]) -> Outage | None:
        return None

    def probe(self, choice: Mapping[str, Any]) -> Outage | None:
        return None

    def open(self, payment: Payment) -> Report:
        self.asked.release()
        self.answers.wait(30)
        return Report(f"address-{payment.id}", State.PENDING)

    def look_up(self, payment: Payment) -> Report:
        return Report(payment.external_id or "", State.PENDING)

    def close(self, payment: Payment) -> Report:
        return Report(payment.external_id or "", State.EXPIRED)


@dataclass
class Desk:
    """The use cases of one organization, on a real database."""

    db: Database
    features: PaymentFeatures
    balances: BalanceService
    organization_id: UUID
    provider: FakeProvider

    def open(self) -> Payment:
        return self.features.checkout.create(NewPayment(self.organization_id, "CRYPTO", ASKED, "USD", ""))

    def report(self, payment: Payment, *incoming: IncomingFunds) -> Payment:
        report = Report(payment.external_id or "", State.PROCESSING, incoming)
        return self.features.booking.settle(payment.id, "CRYPTO", report) or payment

    def reverse(self, key: str) -> None:
        with self.db.transaction() as tx:
            self.features.booking.reverse_in(tx, "CRYPTO", key)

    def suspend(self, funds: IncomingFunds) -> Deposit:
        with self.db.transaction() as tx:
            self.features.booking.suspend_in(tx, "CRYPTO", funds)
        deposit = deposits_store.get_any_tenant(self.db, "CRYPTO", funds.key)
        assert deposit
        return deposit

    def spend(self, amount_micros: int) -> None:
        wallet = Wallet(self.organization_id, "USD")
        escrow = Escrow(self.organization_id, uuid4(), "USD")
        with self.db.transaction() as tx:
            ledger.lock(tx, [wallet.available, escrow.account])
            ledger.post(tx, [escrow.hold(amount_micros, new_id().hex)], new_id)

    def balance(self) -> tuple[int, int, int]:
        balance = self.balances.balance(self.organization_id, "USD")
        return balance.available_micros, balance.held_micros, balance.debt_micros

    def deposits(self, payment: Payment) -> list[tuple[str, int]]:
        _, found = self.features.payments.details(self.organization_id, payment.id)
        return [(one.state.value, one.amount_micros) for one in found]

    def suspense(self, provider: str = "CRYPTO") -> int:
        account = Account(Kind.SUSPENSE, "USD", None, provider)
        with self.db.transaction() as tx:
            return ledger.lock(tx, [account])[account]

    def waiting(self) -> int:
        """The number of statements that wait for locks."""
        return int(self.db.all(_WAITING)[0].count)

    def is_sound(self) -> bool:
        books = self.balances.verify()
        return bool(books) and not any(one.sum_micros or one.difference_micros for one in books)


@pytest.fixture
def desk(own_database_url: str) -> Iterator[Desk]:
    db, clock, provider = Database(own_database_url, max_connections=16), SystemClock(), FakeProvider()
    providers = Providers({"CRYPTO": provider}, {}, Bulkhead(["CRYPTO"], 1, 0.0))
    features = PaymentFeatures.build(db, Outbox("payment", clock), providers, clock, new_id)
    yield Desk(db, features, BalanceService(db), uuid4(), provider)
    db.close()


def funds(key: str = "a", amount_micros: int = ASKED, **changes: Any) -> IncomingFunds:
    return replace(IncomingFunds(key, amount_micros, "USD"), **changes)


def test_seen_deposit_is_credited_once_final(desk: Desk) -> None:
    payment = desk.open()
    for confirmations in (1, 2):
        seen = funds(is_final=False, detail={"chain": {"confirmations": confirmations}})
        assert desk.report(payment, seen).state is State.PROCESSING
    assert (desk.deposits(payment), desk.balance()) == ([("SEEN", ASKED)], (0, 0, 0))
    for _ in range(2):
        assert desk.report(payment, funds()).state is State.SUCCEEDED
    assert (desk.deposits(payment), desk.balance()) == ([("CREDITED", ASKED)], (ASKED, 0, 0))
    assert desk.is_sound()


def test_concurrent_reports_of_one_deposit_credit_it_once(desk: Desk) -> None:
    payment = desk.open()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: desk.report(payment, funds(), funds("b", 7)), range(16)))
    assert desk.balance() == (ASKED + 7, 0, 0)
    assert desk.features.payments.get(desk.organization_id, payment.id).outcome is Outcome.REPEATED


def test_deposit_dropped_by_its_chain_is_reversed_and_can_reappear(desk: Desk) -> None:
    payment = desk.open()
    desk.report(payment, funds(asset="USDC"))
    for _ in range(2):
        desk.reverse("a")
    assert (desk.deposits(payment), desk.balance()) == ([("REVERSED", ASKED)], (0, 0, 0))
    assert desk.features.payments.get(desk.organization_id, payment.id).state is State.PENDING
    # The chain restores that block, then drops it again.
    desk.report(payment, funds(asset="USDC", is_final=False))
    assert desk.deposits(payment) == [("SEEN", ASKED)]
    desk.report(payment, funds(asset="USDC"))
    assert desk.balance() == (ASKED, 0, 0)
    desk.reverse("a")
    assert desk.balance() == (0, 0, 0)
    assert desk.is_sound()


def test_outdated_report_does_not_credit_a_deposit_recalled_by_its_bank(desk: Desk) -> None:
    payment = desk.open()
    desk.report(payment, funds())
    desk.reverse("a")
    desk.report(payment, funds())
    assert (desk.deposits(payment), desk.balance()) == ([("REVERSED", ASKED)], (0, 0, 0))


def test_dropped_deposit_that_was_not_final_posts_nothing(desk: Desk) -> None:
    payment = desk.open()
    desk.report(payment, funds(is_final=False))
    desk.reverse("a")
    desk.reverse("never seen")
    assert (desk.deposits(payment), desk.balance()) == ([("REVERSED", ASKED)], (0, 0, 0))


def test_reversal_of_spent_money_becomes_debt_that_the_next_deposit_repays(desk: Desk) -> None:
    payment = desk.open()
    desk.report(payment, funds())
    desk.spend(60_000_000)
    desk.reverse("a")
    assert desk.balance() == (0, 60_000_000, 60_000_000)
    desk.report(desk.open(), funds("b", 50_000_000))
    assert desk.balance() == (0, 60_000_000, 10_000_000)
    desk.report(desk.open(), funds("c", 50_000_000))
    assert desk.balance() == (40_000_000, 60_000_000, 0)
    assert desk.is_sound()


def test_unmatched_deposit_is_in_suspense_until_assigned(desk: Desk) -> None:
    for _ in range(2):
        unmatched = desk.suspend(funds("x", 5_000_000))
    assert (desk.balance(), desk.suspense()) == ((0, 0, 0), 5_000_000)
    payment = desk.open()
    for _ in range(2):
        assigned = desk.features.booking.assign(unmatched.id, payment.id)
        assert (assigned.state.value, assigned.payment_id) == ("CREDITED", payment.id)
    assert (desk.balance(), desk.suspense()) == ((5_000_000, 0, 0), 0)
    assert desk.features.payments.get(desk.organization_id, payment.id).outcome is Outcome.UNDERPAID
    with pytest.raises(DepositAssigned):
        desk.features.booking.assign(unmatched.id, desk.open().id)
    assert desk.is_sound()


def test_assignment_requires_existing_deposit_and_payment_in_one_currency(desk: Desk) -> None:
    euros = desk.suspend(funds("x", currency_code="EUR"))
    payment = desk.open()
    refused: list[tuple[type[Exception], Callable[[], Deposit]]] = [
        (CurrencyMismatch, lambda: desk.features.booking.assign(euros.id, payment.id)),
        (DepositNotFound, lambda: desk.features.booking.assign(uuid4(), payment.id)),
        (PaymentNotFound, lambda: desk.features.booking.assign(euros.id, uuid4())),
    ]
    for error, work in refused:
        with pytest.raises(error):
            work()
    assert desk.balance() == (0, 0, 0)


def test_concurrent_assignments_credit_one_payment(desk: Desk) -> None:
    unmatched = desk.suspend(funds("x", 5_000_000))
    payments = [desk.open() for _ in range(6)]

    def assign(payment: Payment) -> bool:
        try:
            desk.features.booking.assign(unmatched.id, payment.id)
        except DepositAssigned:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(assign, payments)).count(True) == 1
    assert (desk.balance(), desk.suspense()) == ((5_000_000, 0, 0), 0)


def test_recalled_unmatched_deposit_leaves_suspense(desk: Desk) -> None:
    desk.suspend(funds("x", 5_000_000))
    for _ in range(2):
        desk.reverse("x")
    assert desk.suspense() == 0
    assert desk.is_sound()


@pytest.mark.parametrize("assigned", [False, True])
def test_dropped_unmatched_deposit_is_unmatched_when_it_reappears(desk: Desk, assigned: bool) -> None:
    coins = funds("x", 5_000_000, asset="USDC")
    for _ in range(2):
        unmatched = desk.suspend(coins)
        assert (unmatched.state.value, desk.suspense()) == ("UNMATCHED", 5_000_000)
        if assigned:
            desk.features.booking.assign(unmatched.id, desk.open().id)
            assert (desk.balance(), desk.suspend(coins).state.value) == ((5_000_000, 0, 0), "CREDITED")
        desk.reverse("x")
        assert (desk.balance(), desk.suspense()) == ((0, 0, 0), 0)
    assert desk.is_sound()


def test_deposit_in_another_currency_is_unmatched(desk: Desk) -> None:
    payment = desk.report(desk.open(), funds("x", currency_code="EUR"))
    assert (payment.state, desk.balance()) == (State.PROCESSING, (0, 0, 0))
    assert desk.deposits(payment) == [("UNMATCHED", ASKED)]


def test_payment_is_pending_while_a_deposit_for_it_waits_for_staff(desk: Desk) -> None:
    euros = funds("x", currency_code="EUR", asset="USDT")
    payment = desk.report(desk.open(), replace(euros, is_final=False))
    assert (payment.pending_reason, desk.deposits(payment)) == (
        "USDT was sent, which is not counted in USD, and waits for its confirmations", []
    )  # fmt: skip
    payment = desk.report(payment, euros)
    assert payment.pending_reason == (
        "USDT worth 100 EUR arrived, which is not the payment's currency: staff have it and assign it"
    )
    expired = Report(payment.external_id or "", State.EXPIRED)
    waiting = desk.features.booking.settle(payment.id, "CRYPTO", expired)
    assert waiting
    assert (waiting.state, waiting.is_open) == (State.PROCESSING, True)
    other = desk.features.checkout.create(NewPayment(desk.organization_id, "CRYPTO", ASKED, "EUR", ""))
    unmatched = deposits_store.get_any_tenant(desk.db, "CRYPTO", "x")
    assert unmatched
    desk.features.booking.assign(unmatched.id, other.id)
    after = desk.features.payments.get(desk.organization_id, payment.id)
    assert (after.pending_reason, desk.deposits(payment)) == ("", [("CREDITED", ASKED)])
    closed = desk.features.booking.settle(payment.id, "CRYPTO", expired)
    assert closed
    assert closed.state is State.EXPIRED
    assert desk.is_sound()


def test_payment_does_not_wait_for_a_dropped_deposit(desk: Desk) -> None:
    payment = desk.report(desk.open(), funds("x", currency_code="EUR", asset="USDT"))
    desk.reverse("x")
    after = desk.features.payments.get(desk.organization_id, payment.id)
    assert (after.pending_reason, desk.deposits(payment)) == ("", [("REVERSED", ASKED)])
    payment = desk.report(payment, funds("x", currency_code="EUR", asset="USDT"))
    assert ("staff have it" in payment.pending_reason, desk.deposits(payment)) == (True, [("UNMATCHED", ASKED)])
    assert desk.is_sound()


def test_deposit_assigned_to_another_organization_is_hidden(desk: Desk) -> None:
    payment = desk.report(desk.open(), funds("x", currency_code="EUR", asset="USDT"))
    other = desk.features.checkout.create(NewPayment(uuid4(), "CRYPTO", ASKED, "EUR", ""))
    unmatched = deposits_store.get_any_tenant(desk.db, "CRYPTO", "x")
    assert unmatched
    desk.features.booking.assign(unmatched.id, other.id)
    assert desk.deposits(payment) == []


def test_deposit_cannot_be_assigned_to_an_unopened_payment(desk: Desk, own_database_url: str) -> None:
    unmatched, payment = desk.suspend(funds("x")), desk.open()
    with psycopg.connect(own_database_url, autocommit=True) as sql:
        sql.execute("UPDATE payments SET external_id = NULL")
    with pytest.raises(DepositNotAssignable):
        desk.features.booking.assign(unmatched.id, payment.id)
    assert (desk.balance(), desk.suspense()) == ((0, 0, 0), ASKED)


def test_deposit_assigned_across_providers_can_be_reversed(desk: Desk) -> None:
    with desk.db.transaction() as tx:
        desk.features.booking.suspend_in(tx, "WISE", funds("x", 5_000_000))
    unmatched = deposits_store.get_any_tenant(desk.db, "WISE", "x")
    assert unmatched
    payment = desk.open()
    with desk.db.transaction() as tx:
        # The previous release allowed this.
        suspended = deposits_store.lock_any_tenant(tx, "WISE", "x")
        desk.features.records.save(tx, payment, DepositService(SystemClock(), new_id)._credit(tx, suspended, payment))
    for _ in range(2):
        with desk.db.transaction() as tx:
            desk.features.booking.reverse_in(tx, "WISE", "x")
    assert (desk.deposits(payment), desk.balance()) == ([("REVERSED", 5_000_000)], (0, 0, 0))
    assert desk.is_sound()


def test_reversal_aborts_if_the_deposit_is_assigned_concurrently(desk: Desk) -> None:
    unmatched, payment = desk.suspend(funds("x", 5_000_000)), desk.open()
    suspense = Account(Kind.SUSPENSE, "USD", None, "CRYPTO")
    with ThreadPoolExecutor(2) as pool:
        with desk.db.transaction() as tx:
            ledger.lock(tx, [suspense])
            assigning = pool.submit(desk.features.booking.assign, unmatched.id, payment.id)
            eventually(lambda: desk.waiting() == 1)
            reversing = pool.submit(desk.reverse, "x")
            eventually(lambda: desk.waiting() == 2)
        assigning.result()
        with pytest.raises(Aborted):
            reversing.result()
    desk.reverse("x")
    assert desk.balance() == (0, 0, 0)
    assert desk.is_sound()


def test_hanging_provider_blocks_a_limited_number_of_calls(desk: Desk) -> None:
    desk.provider.answers.clear()
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(desk.open)
        assert desk.provider.asked.acquire(timeout=30)
        waiting = desk.open()
        assert (waiting.external_id, waiting.state) == (None, State.PENDING)
        assert "does not answer" in waiting.pending_reason
        assert not held.done()
        desk.provider.answers.set()
        assert held.result().external_id
