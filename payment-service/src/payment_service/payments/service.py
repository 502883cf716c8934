"""Opening deposits and booking what providers say of them."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
from adplatform.events.v1.events_pb2 import PaymentChanged

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import AppError, Unavailable
from adlib.idempotency import KeyReused
from adlib.ids import NewId
from adlib.money import CURRENCIES, currency, to_minor
from adlib.outbox import Outbox
from adlib.paging import Page, Slice, cut
from adlib.telemetry import logger
from payment_service.deposits.model import Deposit
from payment_service.deposits.service import Deposits
from payment_service.payments import store
from payment_service.payments.messages import to_pb
from payment_service.payments.model import (
    CurrencyNotBillable,
    IncomingFunds,
    Payment,
    PaymentNotFound,
    Recall,
    Report,
    State,
)
from payment_service.providers.bulkhead import Bulkhead
from payment_service.providers.model import Outage, ProviderNotAvailable, ProviderRejected, ProviderUnavailable
from payment_service.providers.protocol import Provider
from payment_service.work.store import WorkQueue

OPEN_PAYMENT = "open-payment"

_CHECK_AFTER = timedelta(minutes=1)
_NO_ANSWER = "the payment provider does not answer; we keep trying"
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class NewPayment:
    """What a deposit is asked for with; `key` is the idempotency-key header, or empty."""

    organization_id: UUID
    provider: str
    amount_micros: int
    currency_code: str
    key: str
    choice: Mapping[str, Any] = field(default_factory=dict)


class PaymentService:
    """The use cases of deposits; `providers` are those that are configured, by name."""

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        providers: Mapping[str, Provider],
        deposits: Deposits,
        bulkhead: Bulkhead,
        queue: WorkQueue,
        clock: Clock,
        ids: NewId,
        wallet_currencies: Collection[str] = CURRENCIES,
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._providers = providers
        self._bulkhead = bulkhead
        self._deposits = deposits
        self._queue = queue
        self._clock = clock
        self._ids = ids
        self._wallet_currencies = wallet_currencies

    def create(self, new: NewPayment) -> Payment:
        """Opens the payment at its provider. A repeat goes on where the first one stopped.

        Where the provider does not answer, it stays PENDING with a reason and is opened later; where it is known not to
        work, nothing is stored. What the contract names.
        """
        provider = self._provider(new.provider)
        to_minor(new.amount_micros, currency(new.currency_code))
        is_repeat = bool(new.key and store.by_key(self._db, new.organization_id, new.key))
        if not is_repeat and new.currency_code not in self._wallet_currencies:
            raise CurrencyNotBillable(new.currency_code, self._wallet_currencies)
        choice = provider.check(new.choice, new.currency_code)
        if not is_repeat:
            self._refuse_during_outage(new.provider, choice)
        payment = self._ensure(new, choice)
        if payment.external_id is None and payment.state is State.FAILED:
            raise ProviderRejected(payment.failure_message)
        if payment.external_id is None and payment.is_open:
            return self._opened(payment)
        return self._explained([payment])[0]

    def open(self, payment_id: UUID) -> None:
        """Opens a payment whose provider did not answer before, unless that is done; UNAVAILABLE."""
        payment = store.get_of_anyone(self._db, payment_id)
        if payment and payment.is_open and payment.external_id is None:
            try:
                report = self._provider(payment.provider).open(payment)
            except ProviderRejected as refusal:
                self._reject(payment, refusal.said)
            else:
                self.settle(payment.id, payment.provider, report)

    def confirm(self, organization_id: UUID, payment_id: UUID) -> Payment:
        """Asks the provider how the payment stands, and books that; PAYMENT_NOT_FOUND, PROVIDER_REJECTED."""
        payment = self.get(organization_id, payment_id)
        if payment.external_id is None:
            return self._opened(payment) if payment.is_open else payment
        try:
            provider = self._provider(payment.provider)
            with self._bulkhead.acquire(payment.provider):
                report = provider.look_up(payment)
        except AppError as error:
            if error.code is not grpc.StatusCode.UNAVAILABLE:
                raise
            # Only said, and not kept: where nobody asks again, nobody would take it back.
            return payment.waiting(self._why(payment), self._clock.now())
        return self._explained([self.settle(payment.id, payment.provider, report) or payment])[0]

    def get(self, organization_id: UUID, payment_id: UUID) -> Payment:
        """The organization's payment; PAYMENT_NOT_FOUND."""
        payment = store.get(self._db, organization_id, payment_id)
        if payment is None:
            raise PaymentNotFound(payment_id)
        return payment

    def details(self, organization_id: UUID, payment_id: UUID) -> tuple[Payment, Sequence[Deposit]]:
        """The organization's payment, and what has arrived for it; PAYMENT_NOT_FOUND."""
        (payment,) = self._explained([self.get(organization_id, payment_id)])
        return payment, self._deposits.of_payment(self._db, payment)

    def list(self, organization_id: UUID, part: Page) -> Slice[Payment]:
        """The organization's payments, newest first."""
        found = cut(store.page(self._db, organization_id, part), part, lambda payment: payment.id)
        return replace(found, rows=self._explained(found.rows))

    def unsettled(self, limit: int) -> Sequence[Payment]:
        """Payments whose webhook may have been missed, or which have expired; not asked about for a minute."""
        now = self._clock.now()
        asked = [name for name, provider in self._providers.items() if not provider.is_watched]
        return store.open_of_anyone(self._db, asked, now - _CHECK_AFTER, now, limit)

    def check(self, payment: Payment) -> None:
        """Asks the provider and books what it says; what nobody paid in time is closed there."""
        now = self._clock.now()
        # First, so that one that always fails does not keep the others from their turn.
        with self._db.transaction() as tx:
            store.checked(tx, payment, now)
        provider = self._provider(payment.provider)
        if payment.external_id is None:
            self._expire(payment) if payment.is_abandoned(now) else self.open(payment.id)
        else:
            report = provider.close(payment) if payment.is_abandoned(now) else provider.look_up(payment)
            self.settle(payment.id, payment.provider, report)

    def settle(self, payment_id: UUID, provider: str, report: Report) -> Payment | None:
        """Books what a provider reported; the payment then, or None where there is none with that id there."""
        with self._db.transaction() as tx:
            return self.settle_in(tx, payment_id, provider, report)

    def settle_in(self, tx: Transaction, payment_id: UUID, provider: str, report: Report) -> Payment | None:
        """Books what a provider reported, in the caller's transaction. A repeat or older news changes nothing."""
        before = store.lock_of_anyone(tx, payment_id, provider)
        if before is None or before.external_id not in (None, report.external_id):
            _log.error("payment_unknown", payment=str(payment_id), provider=provider, external_id=report.external_id)
            return None
        after = replace(before, external_id=report.external_id)
        for arrival in report.incoming:
            after = self._deposits.book(tx, after, arrival)
        held, now = self._deposits.held_reason(tx, before) or _unconfirmed(before, report), self._clock.now()
        if held and report.state is State.EXPIRED:
            # What staff have to assign is not forgotten.
            report = replace(report, state=State.PENDING)
        after = after.apply(report, now)
        return self.change_in(tx, before, after.waiting(held, now) if held and not after.is_paid else after)

    def suspend_in(self, tx: Transaction, provider: str, arrival: IncomingFunds) -> None:
        """Keeps what arrived for nobody that is known, until staff assign it. A repeat changes nothing."""
        self._deposits.suspend(tx, provider, arrival)

    def reverse_in(
        self, tx: Transaction, provider: str, arrival_key: str, recall: Recall | None = None
    ) -> None:  # fmt: skip
        """Takes back what arrived under the key, or what the recall says of it. Repeats change nothing; ABORTED."""
        deposit = self._deposits.of_anyone(tx, provider, arrival_key)
        if deposit is None:
            return
        # Staff may have assigned it to a payment of another provider.
        locked = self._lock_all_of_anyone(tx, deposit.payment_id, deposit.sent_for_payment_id)
        before = locked[deposit.payment_id] if deposit.payment_id else None
        after = self._deposits.reverse(tx, provider, arrival_key, before, recall)
        if before and after:
            self.change_in(tx, before, after)
        self._release_in(tx, deposit, locked)

    def assign(self, deposit_id: UUID, payment_id: UUID) -> Deposit:
        """Credits an unmatched deposit to anyone's payment.

        PAYMENT_NOT_FOUND, DEPOSIT_NOT_FOUND, DEPOSIT_ASSIGNED, CURRENCY_MISMATCH, DEPOSIT_NOT_ASSIGNABLE.
        """
        with self._db.transaction() as tx:
            unmatched = self._deposits.by_id_of_anyone(tx, deposit_id)
            locked = self._lock_all_of_anyone(tx, payment_id, unmatched.sent_for_payment_id if unmatched else None)
            before = locked[payment_id]
            provider = self._providers.get(before.provider)
            takes_transfers = provider is not None and provider.takes_transfers
            deposit, after = self._deposits.assign(tx, deposit_id, before, takes_transfers=takes_transfers)
            self.change_in(tx, before, after)
            self._release_in(tx, deposit, locked)
            return deposit

    def _release_in(self, tx: Transaction, deposit: Deposit, locked: Mapping[UUID, Payment]) -> None:
        """Lets the payment go on that the deposit was sent for, where nothing else of it waits for staff."""
        before = locked.get(deposit.sent_for_payment_id) if deposit.sent_for_payment_id else None
        if before and deposit.sent_for_payment_id != deposit.payment_id:
            self.change_in(tx, before, before.waiting(self._deposits.held_reason(tx, before), self._clock.now()))

    def change_in(self, tx: Transaction, before: Payment, after: Payment) -> Payment:
        """Stores the locked payment as it is now, and tells of it where that can be seen."""
        if after != before:
            store.save(tx, after)
            if to_pb(after) != to_pb(replace(before, updated_at=after.updated_at)):
                self._outbox.append(tx, after.organization_id, PaymentChanged(payment=to_pb(after)))
        return after

    def _opened(self, payment: Payment) -> Payment:
        """Without the provider's id it was never opened, or the answer was lost: then it is opened, again."""
        try:
            provider = self._provider(payment.provider)
            with self._bulkhead.acquire(payment.provider):
                report = provider.open(payment)
        except ProviderRejected as refusal:
            self._reject(payment, refusal.said)
            raise
        except AppError as error:
            if error.code is not grpc.StatusCode.UNAVAILABLE:
                raise
            return self._waiting(payment)
        return self.settle(payment.id, payment.provider, report) or payment

    def _refuse_during_outage(self, name: str, choice: Mapping[str, Any]) -> None:
        """PROVIDER_UNAVAILABLE where the provider is known not to work, and still does not."""
        provider = self._provider(name)
        outage = provider.outage(choice)
        if outage and outage.is_lasting:
            with suppress(Unavailable), self._bulkhead.acquire(name):
                outage = provider.recheck(choice)
        if outage and outage.is_lasting:
            _log.warning("payment_refused_by_outage", provider=name, because=outage.because)
            raise ProviderUnavailable(name, outage)

    def _why(self, payment: Payment) -> str:
        """Why the payment's provider did not answer just now."""
        outage = self._provider(payment.provider).outage(payment.choice)
        return outage.because if outage else _NO_ANSWER

    def _explained(self, payments: Sequence[Payment]) -> Sequence[Payment]:
        """The payments with what keeps those that are open from being settled, as far as it is known and not stored."""
        known: dict[tuple[str, object], Outage | None] = {}

        def explained(payment: Payment) -> Payment:
            provider = self._providers.get(payment.provider)
            if provider is None or not payment.is_open:
                return payment
            key = (payment.provider, payment.choice.get("chain_id"))
            if key not in known:
                known[key] = provider.outage(payment.choice)
            outage = known[key]
            return replace(payment, pending_reason=outage.because) if outage else payment

        return [explained(payment) for payment in payments]

    def _waiting(self, payment: Payment) -> Payment:
        """The payment, to be opened by the queue; unless that was done, and only the answer was lost."""
        with self._db.transaction() as tx:
            before = store.lock_of_anyone(tx, payment.id, payment.provider)
            if before is None or not before.is_open or before.external_id is not None:
                return before or payment
            self._queue.add(tx, OPEN_PAYMENT, payment.id)
            return self.change_in(tx, before, before.waiting(self._why(before), self._clock.now()))

    def _ensure(self, new: NewPayment, choice: Mapping[str, Any]) -> Payment:
        """The payment's row, there before the provider is asked."""
        now = self._clock.now()
        payment = Payment(
            id=self._ids(),
            organization_id=new.organization_id,
            provider=new.provider,
            state=State.PENDING,
            amount_micros=new.amount_micros,
            currency_code=new.currency_code,
            idempotency_key=new.key or None,
            external_id=None,
            created_at=now,
            updated_at=now,
            choice=choice,
        )
        with self._db.transaction() as tx:
            if store.add(tx, payment):
                self._outbox.append(tx, payment.organization_id, PaymentChanged(payment=to_pb(payment)))
                return payment
            first = store.by_key(tx, new.organization_id, new.key)
        if first is None or not first.asks_the_same(payment):
            raise KeyReused
        return first

    def _reject(self, payment: Payment, message: str) -> None:
        with self._db.transaction() as tx:
            before = store.lock_of_anyone(tx, payment.id, payment.provider)
            if before and before.external_id is None and before.state is State.PENDING:
                self.change_in(tx, before, before.rejected(message, self._clock.now()))

    def _expire(self, payment: Payment) -> None:
        """It could never be opened, so nobody can have paid it."""
        with self._db.transaction() as tx:
            before = store.lock_of_anyone(tx, payment.id, payment.provider)
            if before and before.external_id is None and before.is_open:
                self.change_in(tx, before, before.unopened(self._clock.now()))

    @classmethod
    def _lock_all_of_anyone(cls, tx: Transaction, *payment_ids: UUID | None) -> Mapping[UUID, Payment]:
        """The payments, locked in the order of their ids; PAYMENT_NOT_FOUND."""
        return {one: cls._lock_of_anyone(tx, one) for one in sorted({one for one in payment_ids if one})}

    @staticmethod
    def _lock_of_anyone(tx: Transaction, payment_id: UUID) -> Payment:
        found = store.get_of_anyone(tx, payment_id)
        payment = found and store.lock_of_anyone(tx, payment_id, found.provider)
        if payment is None:
            raise PaymentNotFound(payment_id)
        return payment

    def _provider(self, name: str) -> Provider:
        if name not in self._providers:
            raise ProviderNotAvailable(name, ", ".join(sorted(self._providers)))
        return self._providers[name]


def _unconfirmed(payment: Payment, report: Report) -> str:
    """What was sent in another currency and is not final; empty where nothing was."""
    for arrival in report.incoming:
        if arrival.currency_code != payment.currency_code and not arrival.is_final:
            what = arrival.asset or arrival.currency_code
            return f"{what} was sent, which is not counted in {payment.currency_code}, and waits for its confirmations"
    return ""
