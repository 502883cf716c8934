"""The configured payment providers, with a limit on concurrent calls and what is known of their outages."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any

from adlib.errors import Unavailable
from adlib.telemetry import logger
from payment_service.payments.model import Payment
from payment_service.providers.bulkhead import Bulkhead
from payment_service.providers.model import Outage, ProviderNotAvailable, ProviderUnavailable
from payment_service.providers.protocol import Provider

_NO_RESPONSE = "the payment provider does not answer; we keep trying"
_log = logger(__name__)


class Providers:
    """The providers that customers can pay with, by name."""

    def __init__(self, by_name: Mapping[str, Provider], bulkhead: Bulkhead | None = None) -> None:
        self._by_name = by_name
        self._bulkhead = bulkhead or Bulkhead(by_name)

    @property
    def names(self) -> Sequence[str]:
        """The names of the configured providers, sorted."""
        return sorted(self._by_name)

    @property
    def polled(self) -> Sequence[str]:
        """The providers that have to be asked about each payment, since no watcher reports it."""
        return sorted(name for name, provider in self._by_name.items() if not provider.is_watched)

    @property
    def taking_transfers(self) -> Sequence[str]:
        """The providers that receive, and can refund, transfers which no payment requested."""
        return sorted(name for name, provider in self._by_name.items() if provider.takes_transfers)

    def find(self, name: str) -> Provider | None:
        """The provider; None if it is not configured."""
        return self._by_name.get(name)

    def get(self, name: str) -> Provider:
        """The provider; PROVIDER_NOT_AVAILABLE if it is not configured."""
        if name not in self._by_name:
            raise ProviderNotAvailable(name, ", ".join(self.names))
        return self._by_name[name]

    def acquire(self, name: str) -> AbstractContextManager[None]:
        """Limits the concurrent calls to the provider while a client waits; UNAVAILABLE if there are too many."""
        return self._bulkhead.acquire(name)

    def refuse_during_outage(self, name: str, choice: Mapping[str, Any]) -> None:
        """PROVIDER_UNAVAILABLE if the provider has a known outage that a new check confirms."""
        provider = self.get(name)
        outage = provider.outage(choice)
        if outage and outage.is_lasting:
            with suppress(Unavailable), self.acquire(name):
                outage = provider.recheck(choice)
        if outage and outage.is_lasting:
            _log.warning("payment_refused_by_outage", provider=name, because=outage.because)
            raise ProviderUnavailable(name, outage)

    def no_response_reason(self, payment: Payment) -> str:
        """Why the payment's provider did not respond, for the payment's pending reason."""
        outage = self.get(payment.provider).outage(payment.choice)
        return outage.because if outage else _NO_RESPONSE

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
            return replace(payment, pending_reason=outage.because) if outage else payment

        return [with_outage(payment) for payment in payments]
