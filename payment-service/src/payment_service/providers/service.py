"""The configured providers by capability; for customers also their outages and a limit on concurrent calls."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any

from adlib.errors import Unavailable
from adlib.rpc import Runnable
from adlib.telemetry import logger
from payment_service.bulkhead import Bulkhead
from payment_service.payments.model import Payment
from payment_service.providers.model import Outage, ProviderNotAvailable, ProviderUnavailable
from payment_service.providers.protocol import (
    BooksFunds,
    ListsMissedEvents,
    Provider,
    ReadsWebhooks,
    SendsPayouts,
    SendsRefunds,
    TakesPayments,
)

_NO_RESPONSE = "the payment provider does not answer; we keep trying"
_log = logger(__name__)


class Providers:
    """The providers that customers can pay with, and be refunded by, by name."""

    def __init__(
        self,
        payments: Mapping[str, TakesPayments],
        refunds: Mapping[str, SendsRefunds],
        bulkhead: Bulkhead | None = None,
    ) -> None:
        self._payments = payments
        self._refunds = refunds
        self._bulkhead = bulkhead or Bulkhead(payments)

    @property
    def names(self) -> Sequence[str]:
        """The names of the configured providers, sorted."""
        return sorted(self._payments)

    @property
    def polled(self) -> Sequence[str]:
        """The providers whose open payments must be polled."""
        return sorted(name for name, provider in self._payments.items() if provider.is_polled)

    @property
    def accepting_transfers(self) -> Sequence[str]:
        """The providers that receive, and can refund, transfers which no payment requested."""
        return sorted(name for name, provider in self._payments.items() if provider.accepts_transfers)

    def find(self, name: str) -> TakesPayments | None:
        """The provider; None if it is not configured."""
        return self._payments.get(name)

    def get(self, name: str) -> TakesPayments:
        """The provider; PROVIDER_NOT_AVAILABLE if it is not configured."""
        if name not in self._payments:
            raise ProviderNotAvailable(name, ", ".join(self.names))
        return self._payments[name]

    def find_refunds(self, name: str) -> SendsRefunds | None:
        """The provider's refund capability; None if it is not configured."""
        return self._refunds.get(name)

    def refunds(self, name: str) -> SendsRefunds:
        """The provider's refund capability; PROVIDER_NOT_AVAILABLE if it is not configured."""
        if name not in self._refunds:
            raise ProviderNotAvailable(name, ", ".join(self.names))
        return self._refunds[name]

    def acquire(self, name: str) -> AbstractContextManager[None]:
        """Limits the concurrent calls to the provider while a client waits; UNAVAILABLE if there are too many."""
        return self._bulkhead.acquire(name)

    def refuse_during_outage(self, name: str, choice: Mapping[str, Any]) -> None:
        """PROVIDER_UNAVAILABLE if the provider has a known outage that a new check confirms."""
        provider = self.get(name)
        outage = provider.outage(choice)
        if outage and outage.is_lasting:
            with suppress(Unavailable), self.acquire(name):
                outage = provider.probe(choice)
        if outage and outage.is_lasting:
            _log.warning("payment_refused_by_outage", provider=name, reason=outage.reason)
            raise ProviderUnavailable(name, outage)

    def no_response_reason(self, payment: Payment) -> str:
        """Why the payment's provider did not respond, for the payment's pending reason."""
        outage = self.get(payment.provider).outage(payment.choice)
        return outage.reason if outage else _NO_RESPONSE

    def with_outages(self, payments: Sequence[Payment]) -> Sequence[Payment]:
        """The payments, with known outages as the pending reasons of those that are open. Stores nothing."""
        known: dict[tuple[str, object], Outage | None] = {}

        def with_outage(payment: Payment) -> Payment:
            provider = self.find(payment.provider)
            if provider is None or not payment.is_open:
                return payment
            key = (payment.provider, payment.choice.get("chain_id"))
            if key not in known:
                known[key] = provider.outage(payment.choice)
            outage = known[key]
            return replace(payment, pending_reason=outage.reason) if outage else payment

        return [with_outage(payment) for payment in payments]


class ProviderRegistry:
    """The providers with each capability, by name."""

    def __init__(self, providers: Iterable[Provider]) -> None:
        self._providers = {provider.name: provider for provider in providers}

    @property
    def payments(self) -> Mapping[str, TakesPayments]:
        """Providers that customers can pay with."""
        return {name: one.payments for name, one in self._providers.items() if one.payments}

    @property
    def refunds(self) -> Mapping[str, SendsRefunds]:
        """Providers that payments can be refunded by."""
        return {name: one.refunds for name, one in self._providers.items() if one.refunds}

    @property
    def payouts(self) -> Mapping[str, SendsPayouts]:
        """Providers that payouts can be sent by."""
        return {name: one.payouts for name, one in self._providers.items() if one.payouts}

    @property
    def webhooks(self) -> Mapping[str, ReadsWebhooks]:
        """Providers that send webhooks."""
        return {name: one.webhooks for name, one in self._providers.items() if one.webhooks}

    @property
    def missed_events(self) -> Mapping[str, ListsMissedEvents]:
        """Providers that list events, so that missed webhooks can be found."""
        return {name: one.missed_events for name, one in self._providers.items() if one.missed_events}

    @property
    def for_customers(self) -> "Providers":
        """The providers that customers can pay with."""
        return Providers(self.payments, self.refunds)

    def tasks(self, booking: BooksFunds) -> Sequence[Runnable]:
        """The background tasks of all providers."""
        return [task for one in self._providers.values() if one.background for task in one.background.tasks(booking)]

    def close(self) -> None:
        """Closes the providers' connections."""
        for one in self._providers.values():
            for close in one.closing:
                close()
