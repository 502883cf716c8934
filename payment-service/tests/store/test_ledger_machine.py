"""A state machine over the ledger: any sequence of operations, repeats and crashes keeps the ledger sound."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from adplatform.payment.v1 import payment_pb2 as pb
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from adlib.clock import SystemClock
from adlib.db import CheckViolated, Database, Query, Transaction, UniqueViolated
from adlib.errors import Unavailable
from adlib.idempotency import Idempotency
from adlib.ids import new_id
from adlib.outbox import Outbox
from payment_service.balances import store as books
from payment_service.balances.model import Balance
from payment_service.balances.service import BalanceService
from payment_service.debts.service import DebtService
from payment_service.holds.model import Earner, Escrow, OrganizationInDebt, Spend
from payment_service.holds.service import HoldService
from payment_service.ledger import store
from payment_service.ledger.model import Account, InsufficientFunds, Kind, Transfer, Wallet
from payment_service.ledger.service import ReservationService
from payment_service.refunds.model import Details, Refund
from payment_service.refunds.model import State as RefundState

USD, PROVIDER = "USD", "STRIPE"
LATER, LONG_AGO = datetime(2100, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)


class Cut:
    """A transaction whose connection the server ends before its statement number `left`, or before its COMMIT."""

    def __init__(self, tx: Transaction, left: int, kill: Callable[[int], None]) -> None:
        self._tx, self._left, self._kill = tx, left, kill
        self.after_commit = tx.after_commit

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._kill(self._tx._connection.info.backend_pid)

    def one(self, query: Query, **parameters: Any) -> Any:
        self.step()
        return self._tx.one(query, **parameters)

    def all(self, query: Query, **parameters: Any) -> Any:
        self.step()
        return self._tx.all(query, **parameters)

    def execute(self, query: Query, **parameters: Any) -> int:
        self.step()
        return self._tx.execute(query, **parameters)


class CutDatabase(Database):
    """A database whose next transaction is cut off before that many statements; 0: no transaction is."""

    cut = 0

    def __init__(self, url: str) -> None:
        super().__init__(url, max_connections=2)
        self._console = psycopg.connect(url, autocommit=True)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        cut, self.cut = self.cut, 0
        with super().transaction() as tx:
            cutting = Cut(tx, cut, self._end)
            yield cutting  # type: ignore[misc]  # it has what a Transaction has
            cutting.step()

    def _end(self, pid: int) -> None:
        self._console.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    def close(self) -> None:
        self._console.close()
        super().close()


@dataclass
class Figures:
    """An organization's expected balance."""

    available: int = 0
    held: int = 0
    spent: int = 0
    reserved: int = 0
    debt: int = 0
    # Earned by the other organization's publisher from this organization's spend.
    earned: int = 0

    def receive(self, micros: int) -> None:
        repaid = min(micros, self.debt)
        self.debt -= repaid
        self.available += micros - repaid

    def lose(self, micros: int) -> None:
        there = min(micros, self.available)
        self.available -= there
        self.debt += micros - there

    @property
    def balance(self) -> Balance:
        return Balance(USD, self.available, self.held, self.spent, self.reserved, self.debt)


cuts = st.integers(0, 7)
amounts = st.integers(1, 50)
whose = st.integers(0, 1)


class Machine(RuleBasedStateMachine):
    """Two organizations, a campaign each."""

    db: CutDatabase

    def __init__(self) -> None:
        super().__init__()
        self.holds = HoldService(self.db, new_id)
        self.balance_service = BalanceService(self.db)
        self.reservations = ReservationService(self.db, SystemClock(), new_id)
        self.debts = DebtService(self.db, Outbox("payment", SystemClock()), new_id)
        self.wallets = [Wallet(uuid4(), USD) for _ in range(2)]
        self.escrows = [Escrow(wallet.organization_id, uuid4(), USD) for wallet in self.wallets]
        self.figures = [Figures(), Figures()]
        self.pending: list[tuple[int, Transfer]] = []
        self.done: list[tuple[int, list[Transfer]]] = []
        self.past: list[tuple[UUID, list[Balance]]] = []
        self.calls: list[tuple[Callable[[], object], object]] = []

    def call(self, cut: int, action: Callable[[], object]) -> object:
        """The action's result; if its connection was cut off, nothing was changed, and the action is repeated."""
        before = [figures.balance for figures in self.figures]
        self.db.cut = cut
        try:
            return action()
        except Unavailable:
            assert cut
            assert self.balances() == before
            return action()
        finally:
            self.db.cut = 0

    def post(self, who: int, cut: int, make: Callable[[Any], list[Transfer]], *more: Account) -> list[Transfer]:
        """Posts the transfers that are made from the locked wallet's balances."""
        wallet = self.wallets[who]
        touched = {wallet.available, wallet.debt, wallet.clearing(PROVIDER), *more}

        def action() -> list[Transfer]:
            with self.db.transaction() as tx:
                made = make(store.lock(tx, touched))
                store.post(tx, made, new_id)
            return made

        made = self.call(cut, action)
        assert isinstance(made, list)
        self.done.append((who, made))
        return made

    def balances(self) -> list[Balance]:
        return [books.balance(self.db, wallet.organization_id, USD) for wallet in self.wallets]

    @rule(who=whose, micros=amounts, cut=cuts)
    def deposit(self, who: int, micros: int, cut: int) -> None:
        wallet, payment = self.wallets[who], uuid4()
        paid = Transfer("DEPOSIT", wallet.clearing(PROVIDER), wallet.available, micros, payment, f"deposit:{payment}")
        self.post(who, cut, lambda there: wallet.incoming(paid, there))
        self.figures[who].receive(micros)

    @rule(who=whose, micros=amounts, kind=st.sampled_from(["DISPUTE", "REVERSAL", "REFUND"]), cut=cuts)
    def take_back(self, who: int, micros: int, kind: str, cut: int) -> None:
        wallet, payment = self.wallets[who], uuid4()
        taken = Transfer(kind, wallet.available, wallet.clearing(PROVIDER), micros, payment, f"{kind}:{payment}")
        self.post(who, cut, lambda there: wallet.outgoing(taken, there))
        self.figures[who].lose(micros)

    @rule(who=whose, micros=amounts, cut=cuts)
    def assign_from_suspense(self, who: int, micros: int, cut: int) -> None:
        wallet, id = self.wallets[who], uuid4()
        suspense, fees = Account(Kind.SUSPENSE, USD, None, PROVIDER), Account(Kind.FEES, USD, None, PROVIDER)
        clearing = Account(Kind.PROVIDER_CLEARING, USD, None, PROVIDER)
        came = Transfer("SUSPENSE", clearing, suspense, micros, id, f"suspense:{id}")
        fee = Transfer("FEE", fees, clearing, 1, id, f"fee:{id}")
        paid = Transfer("DEPOSIT", suspense, wallet.available, micros, id, f"deposit:{id}")
        self.post(who, cut, lambda there: [came, fee, *wallet.incoming(paid, there)], suspense, fees, clearing)
        self.figures[who].receive(micros)

    @rule(who=whose, sent=amounts, parts=st.lists(amounts, min_size=1, max_size=3), cut=cuts)
    def refund_that_comes_back_in_parts(self, who: int, sent: int, parts: list[int], cut: int) -> None:
        refund = Refund(
            id=new_id(), payment_id=uuid4(), organization_id=self.wallets[who].organization_id, provider=PROVIDER,
            amount_micros=sent, currency_code=USD, state=RefundState.SUCCEEDED, external_id=str(uuid4()), reason="",
            sent_as="", asked_by=None, created_at=LONG_AGO, updated_at=LONG_AGO,
        )  # fmt: skip
        self.post(who, cut, lambda there: list(refund.outgoing(there)), refund.suspense)
        self.figures[who].lose(sent)
        for part in parts:
            details = Details(returned_micros=part)
            after = refund.apply(refund.external_id, RefundState.FAILED, "it bounced", LATER, details)
            if returned := after.total_returned_micros - refund.total_returned_micros:
                moves = after.transfers_since
                self.post(who, cut, lambda there, moves=moves, old=refund: list(moves(old, there)), refund.suspense)
                self.figures[who].receive(returned)
            refund = after

    @rule(who=whose, micros=amounts, cut=cuts)
    def hold(self, who: int, micros: int, cut: int) -> None:
        figures, escrow, key = self.figures[who], self.escrows[who], str(uuid4())
        if micros > figures.available:
            with pytest.raises(OrganizationInDebt if figures.debt else InsufficientFunds):
                self.call(cut, lambda: self.holds.hold(escrow, micros, key))
            return
        figures.held += micros
        figures.available -= micros
        # A repeat returns the amount that is held now.
        assert self.hold_cut(cut, escrow, micros, key, who) == figures.held

        def again() -> bool:
            if not self.figures[who].debt:
                return self.holds.hold(escrow, micros, key) == self.figures[who].held
            with pytest.raises(OrganizationInDebt):
                self.holds.hold(escrow, micros, key)
            return True

        self.calls.append((again, True))

    def hold_cut(self, cut: int, escrow: Escrow, micros: int, key: str, who: int) -> object:
        self.db.cut = cut
        try:
            return self.holds.hold(escrow, micros, key)
        except Unavailable:
            return self.holds.hold(escrow, micros, key)
        finally:
            self.db.cut = 0

    @rule(who=whose, micros=st.none() | amounts, cut=cuts)
    def release(self, who: int, micros: int | None, cut: int) -> None:
        escrow, key, figures = self.escrows[who], str(uuid4()), self.figures[who]

        def action() -> int:
            idempotency = Idempotency(
                escrow.organization_id, "release", key, pb.ReleaseHoldRequest(),
                lambda released: pb.ReleaseHoldResponse(released_micros=released), pb.ReleaseHoldResponse,
            )  # fmt: skip
            return self.holds.release(escrow, key, idempotency, micros).released_micros

        released = self.call(cut, action)
        assert released == min(figures.held, figures.held if micros is None else micros)
        figures.held -= int(released)
        figures.receive(int(released))
        self.calls.append((action, released))

    @rule(who=whose, micros=st.lists(amounts, min_size=1, max_size=3), cut=cuts)
    def spend(self, who: int, micros: list[int], cut: int) -> None:
        figures = self.figures[who]
        earner = Earner(self.escrows[1 - who].organization_id, self.escrows[1 - who].campaign_id, 7000)
        items = [Spend(self.escrows[who], one, str(uuid4()), earner) for one in micros]

        def action() -> list[int]:
            return [result.posted_micros for result in self.holds.spend(items)]

        posted = self.call(cut, action)
        assert isinstance(posted, list)
        assert sum(posted) <= figures.held
        assert all(0 <= one <= asked for one, asked in zip(posted, micros, strict=True))
        # An escrow is empty if any of its items was capped.
        assert posted == micros or sum(posted) == figures.held
        figures.held -= sum(posted)
        figures.spent += sum(posted)
        figures.earned += sum(one * 7000 // 10_000 for one in posted)
        self.calls.append((action, posted))

    @rule(who=whose, cut=cuts)
    def settle_debt(self, who: int, cut: int) -> None:
        """After any earlier operations, the earnings on hold equal the debt, capped to all earnings."""
        wallet, figures = self.wallets[who], self.figures[who]
        self.call(cut, lambda: self.debts.settle(wallet.organization_id, USD))
        on_hold = min(figures.debt, figures.earned)
        found = self.balance_service.publisher_balances([self.escrows[1 - who].campaign_id])
        expected = [(figures.earned - on_hold, on_hold)] if figures.earned else []
        have = [(one.available_micros, one.on_hold_micros) for one in found]
        assert [one for one in have if any(one)] == expected

    @rule(who=whose, micros=amounts, expires=st.sampled_from([None, LATER, LONG_AGO]), cut=cuts)
    def set_aside(self, who: int, micros: int, expires: datetime | None, cut: int) -> None:
        wallet, figures, payment = self.wallets[who], self.figures[who], uuid4()
        refund = Transfer("REFUND", wallet.available, wallet.clearing(PROVIDER), micros, payment, f"refund:{payment}")
        if micros > figures.available:
            with pytest.raises(CheckViolated, match="accounts_floor"):
                self.post(who, cut, lambda _: [refund.pending(expires)])
            return
        self.post(who, cut, lambda _: [refund.pending(expires)])
        self.pending.append((who, refund.pending(expires)))
        figures.available -= micros
        figures.reserved += micros

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), cut=cuts, completed=st.booleans())
    def end(self, data: st.DataObject, cut: int, completed: bool) -> None:
        who, pending = data.draw(st.sampled_from(self.pending))
        wallet, figures = self.wallets[who], self.figures[who]
        part = data.draw(st.integers(1, pending.amount_micros)) if completed else 0
        ended = pending.completed(part) if completed else pending.voided()
        back = pending.amount_micros - part

        def make(there: Any) -> list[Transfer]:
            return [ended, *wallet.repayment(back, there, pending.reference, ended.key)]

        if completed and pending.expires_at == LONG_AGO:
            with pytest.raises(CheckViolated, match="transfers_expired"):
                self.post(who, cut, make)
            return
        self.post(who, cut, make)
        self.pending.remove((who, pending))
        figures.reserved -= pending.amount_micros
        figures.receive(back)
        for again in (pending.voided(), pending.completed()):
            with pytest.raises((CheckViolated, UniqueViolated)):
                self.post(who, 0, lambda _, again=again: [again])

    @rule()
    def void_expired(self) -> None:
        expired = [one for one in self.pending if one[1].expires_at == LONG_AGO]
        assert len([one for one in self.reservations.expired(100) if self.reservations.void(one)]) == len(expired)
        for who, pending in expired:
            self.pending.remove((who, pending))
            self.figures[who].reserved -= pending.amount_micros
            self.figures[who].receive(pending.amount_micros)

    @precondition(lambda self: self.done)
    @rule(data=st.data())
    def post_again(self, data: st.DataObject) -> None:
        who, made = data.draw(st.sampled_from(self.done))
        with pytest.raises((UniqueViolated, CheckViolated)):
            self.post(who, 0, lambda _: made)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def call_again(self, data: st.DataObject) -> None:
        action, answer = data.draw(st.sampled_from(self.calls))
        assert action() == answer

    @invariant()
    def the_ledger_is_sound(self) -> None:
        found = books.verify_any_tenant(self.db)
        assert all(one.is_sound for one in found), found
        wanted = [figures.balance for figures in self.figures]
        assert self.balances() == wanted
        for wallet, balance in zip(self.wallets, wanted, strict=True):
            lines = books.statement(self.db, wallet.organization_id, USD, UUID(int=0), UUID(int=2**128 - 1), 10_000)
            assert balance == Balance(
                USD,
                sum(line.available_delta_micros for line in lines),
                sum(line.held_delta_micros for line in lines),
                sum(line.spent_delta_micros for line in lines),
                sum(line.reserved_delta_micros for line in lines),
                sum(line.debt_delta_micros for line in lines),
            )
            assert not (balance.debt_micros and balance.available_micros)
        self.past.append((new_id(), wanted))

    def teardown(self) -> None:
        # The next machine uses the same database, and expects only reservations of its own.
        for one in self.reservations.expired(100):
            self.reservations.void(one)
        for before, wanted in self.past:
            assert [books.balance(self.db, one.organization_id, USD, before) for one in self.wallets] == wanted


def test_any_sequence_of_operations_repeats_and_crashes_keeps_the_ledger_sound(own_database_url: str) -> None:
    db = CutDatabase(own_database_url)
    machine = type("MachineOnDatabase", (Machine,), {"db": db})
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=8, stateful_step_count=25, deadline=None, derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip
    finally:
        db.close()
