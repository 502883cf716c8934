"""Opening deposits and booking what providers say of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from adplatform.events.v1.events_pb2 import PaymentChanged

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.idempotency import KeyReused
from adlib.ids import NewId
from adlib.money import currency, to_minor
from adlib.outbox import Outbox
from adlib.paging import Page, Slice, cut
from adlib.telemetry import logger
from payment_service.ledger import store as ledger
from payment_service.ledger.model import deposit
from payment_service.payments import store
from payment_service.payments.messages import to_pb
from payment_service.payments.model import (
    ABANDONED_AFTER,
    Payment,
    PaymentNotFound,
    ProviderNotAvailable,
    ProviderRejected,
    Report,
    State,
)
from payment_service.payments.providers.protocol import Provider

_CHECK_AFTER = timedelta(minutes=1)
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class NewPayment:
    """What a deposit is asked for with; `key` is the idempotency-key header, or empty."""

    organization_id: UUID
    provider: str
    amount_micros: int
    currency_code: str
    key: str


class PaymentService:
    """The use cases of deposits; `providers` are those that are configured, by name."""

    def __init__(
        self, db: Database, outbox: Outbox, providers: Mapping[str, Provider], clock: Clock, ids: NewId
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._providers = providers
        self._clock = clock
        self._ids = ids

    def create(self, new: NewPayment) -> tuple[Payment, Report]:
        """Opens the payment at its provider, and how it stands there. A repeat goes on where the first one stopped.

        PROVIDER_NOT_AVAILABLE, CURRENCY_UNSUPPORTED, PROVIDER_REJECTED; UNAVAILABLE leaves it PENDING.
        """
        provider = self._provider(new.provider)
        to_minor(new.amount_micros, currency(new.currency_code))
        payment = self._ensure(new)
        if payment.external_id is None and payment.state is State.FAILED:
            raise ProviderRejected(payment.failure_message)
        try:
            report = self._ask(provider, payment)
        except ProviderRejected as refusal:
            self._reject(payment, refusal.said)
            raise
        return self.settle(payment.id, payment.provider, report) or payment, report

    def confirm(self, organization_id: UUID, payment_id: UUID) -> Payment:
        """Asks the provider how the payment stands, and books that; PAYMENT_NOT_FOUND."""
        return self._confirm(self.get(organization_id, payment_id))

    def get(self, organization_id: UUID, payment_id: UUID) -> Payment:
        """The organization's payment; PAYMENT_NOT_FOUND."""
        payment = store.get(self._db, organization_id, payment_id)
        if payment is None:
            raise PaymentNotFound(payment_id)
        return payment

    def list(self, organization_id: UUID, part: Page) -> Slice[Payment]:
        """The organization's payments, newest first."""
        return cut(store.page(self._db, organization_id, part), part, lambda payment: payment.id)

    def unsettled(self, limit: int) -> Sequence[Payment]:
        """Payments whose webhook may have been missed: open for a minute, and not asked about for one."""
        now = self._clock.now()
        return store.open_of_anyone(self._db, now - _CHECK_AFTER, now - ABANDONED_AFTER, limit)

    def check(self, payment: Payment) -> None:
        """Asks the provider and books what it says; what nobody paid for a day is closed there."""
        # First, so that one that always fails does not keep the others from their turn.
        with self._db.transaction() as tx:
            store.checked(tx, payment, self._clock.now())
        if payment.is_abandoned(self._clock.now()) and payment.external_id:
            report = self._provider(payment.provider).close(payment.external_id)
            self.settle(payment.id, payment.provider, report)
        else:
            self._confirm(payment)

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
        known = before.known_as(report.external_id)
        after = known.told(report, self._clock.now())
        if after == before:
            return before
        if after.state is State.FAILED and report.state is State.SUCCEEDED:
            _log.error("payment_amount_differs", payment=str(payment_id), message=after.failure_message)
        if after.state is State.SUCCEEDED and before.state is not State.SUCCEEDED:
            credit = deposit(after.id, after.organization_id, provider, after.amount_micros, after.currency_code)
            ledger.lock(tx, [credit.debit, credit.credit])
            ledger.post(tx, [credit], self._ids)
        store.save(tx, after)
        if after != known:
            self._outbox.append(tx, after.organization_id, PaymentChanged(payment=to_pb(after)))
        return after

    def _confirm(self, payment: Payment) -> Payment:
        try:
            report = self._ask(self._provider(payment.provider), payment)
        except ProviderRejected as refusal:
            if payment.external_id is None:
                return self._reject(payment, refusal.said)
            raise
        return self.settle(payment.id, payment.provider, report) or payment

    def _ask(self, provider: Provider, payment: Payment) -> Report:
        """Without the provider's id it was never opened, or the answer was lost: then it is opened, again."""
        return provider.look_up(payment.external_id) if payment.external_id else provider.open(payment)

    def _ensure(self, new: NewPayment) -> Payment:
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
            failure_message="",
            created_at=now,
            updated_at=now,
        )
        with self._db.transaction() as tx:
            if store.add(tx, payment):
                self._outbox.append(tx, payment.organization_id, PaymentChanged(payment=to_pb(payment)))
                return payment
            first = store.by_key(tx, new.organization_id, new.key)
        if first is None or not first.asks_the_same(payment):
            raise KeyReused
        return first

    def _reject(self, payment: Payment, message: str) -> Payment:
        with self._db.transaction() as tx:
            before = store.lock_of_anyone(tx, payment.id, payment.provider)
            if before is None or before.external_id or before.state is not State.PENDING:
                return before or payment
            after = before.rejected(message, self._clock.now())
            store.save(tx, after)
            self._outbox.append(tx, after.organization_id, PaymentChanged(payment=to_pb(after)))
            return after

    def _provider(self, name: str) -> Provider:
        if name not in self._providers:
            raise ProviderNotAvailable(name, ", ".join(sorted(self._providers)))
        return self._providers[name]
