"""Creates payments at providers, confirms them, and reads them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import grpc

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import AppError
from adlib.idempotency import KeyReused
from adlib.ids import NewId
from adlib.money import CURRENCIES, currency, to_minor
from adlib.paging import Page, Slice, cut
from payment_service.bookings.service import PaymentBooking
from payment_service.checkout.tasks import PaymentOpener
from payment_service.deposits.model import Deposit
from payment_service.deposits.service import DepositService
from payment_service.payments import store
from payment_service.payments.model import CurrencyNotBillable, Payment, State
from payment_service.payments.service import PaymentRecords
from payment_service.providers.model import ProviderRejected
from payment_service.providers.service import Providers


@dataclass(frozen=True, slots=True)
class NewPayment:
    """A request to create a payment; `key` is the idempotency-key header, or empty."""

    organization_id: UUID
    provider: str
    amount_micros: int
    currency_code: str
    key: str
    choice: Mapping[str, Any] = field(default_factory=dict)


class CheckoutService:
    """Creates payments, in the currencies that campaigns can be billed in."""

    def __init__(
        self,
        db: Database,
        providers: Providers,
        payments: PaymentRecords,
        opener: PaymentOpener,
        clock: Clock,
        ids: NewId,
        wallet_currencies: Collection[str] = CURRENCIES,
    ) -> None:
        self._db = db
        self._providers = providers
        self._payments = payments
        self._opener = opener
        self._clock = clock
        self._ids = ids
        self._wallet_currencies = wallet_currencies

    def create(self, new: NewPayment) -> Payment:
        """Creates the payment and opens it at its provider. A repeat resumes where the first call stopped.

        If the provider does not respond, the payment stays PENDING with a reason and is opened later; during a known
        outage nothing is stored. The errors are those of CreatePayment in the contract.
        """
        provider = self._providers.get(new.provider)
        to_minor(new.amount_micros, currency(new.currency_code))
        is_repeat = bool(new.key and store.by_key(self._db, new.organization_id, new.key))
        if not is_repeat and new.currency_code not in self._wallet_currencies:
            raise CurrencyNotBillable(new.currency_code, self._wallet_currencies)
        choice = provider.validate(new.choice, new.currency_code)
        if not is_repeat:
            self._providers.refuse_during_outage(new.provider, choice)
        payment = self._store(new, choice)
        if payment.external_id is None and payment.state is State.FAILED:
            raise ProviderRejected(payment.failure_message)
        if payment.external_id is None and payment.is_open:
            return self._opener.open_now(payment)
        return self._providers.with_outages([payment])[0]

    def _store(self, new: NewPayment, choice: Mapping[str, Any]) -> Payment:
        """Stores the payment before its provider is called; a repeat returns the first one. IDEMPOTENCY_KEY_REUSED."""
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
            if self._payments.add(tx, payment):
                return payment
            first = store.by_key(tx, new.organization_id, new.key)
        if first is None or not first.is_same_request_as(payment):
            raise KeyReused
        return first


class PaymentService:
    """Reads an organization's payments, and confirms them at their providers."""

    def __init__(
        self,
        db: Database,
        providers: Providers,
        payments: PaymentRecords,
        deposits: DepositService,
        booking: PaymentBooking,
        opener: PaymentOpener,
        clock: Clock,
    ) -> None:
        self._db = db
        self._providers = providers
        self._payments = payments
        self._deposits = deposits
        self._booking = booking
        self._opener = opener
        self._clock = clock

    def confirm(self, organization_id: UUID, payment_id: UUID) -> Payment:
        """Asks the provider for the payment's state and books it; PAYMENT_NOT_FOUND, PROVIDER_REJECTED."""
        payment = self.get(organization_id, payment_id)
        if payment.external_id is None:
            return self._opener.open_now(payment) if payment.is_open else payment
        try:
            provider = self._providers.get(payment.provider)
            with self._providers.acquire(payment.provider):
                report = provider.look_up(payment)
        except AppError as error:
            if error.code is not grpc.StatusCode.UNAVAILABLE:
                raise
            # Not stored: without another call, nothing would clear it.
            return payment.waiting(self._providers.no_response_reason(payment), self._clock.now())
        settled = self._booking.settle(payment.id, payment.provider, report) or payment
        return self._providers.with_outages([settled])[0]

    def get(self, organization_id: UUID, payment_id: UUID) -> Payment:
        """The organization's payment; PAYMENT_NOT_FOUND."""
        return self._payments.get(self._db, organization_id, payment_id)

    def details(self, organization_id: UUID, payment_id: UUID) -> tuple[Payment, Sequence[Deposit]]:
        """The organization's payment and its deposits; PAYMENT_NOT_FOUND."""
        (payment,) = self._providers.with_outages([self.get(organization_id, payment_id)])
        return payment, self._deposits.of_payment(self._db, payment)

    def list_page(self, organization_id: UUID, part: Page) -> Slice[Payment]:
        """The organization's payments, newest first."""
        found = cut(store.page(self._db, organization_id, part), part, lambda payment: payment.id)
        return replace(found, rows=self._providers.with_outages(found.rows))
