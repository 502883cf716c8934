"""Card payments by Stripe's payment intents."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from typing_extensions import override

from adlib.errors import Unavailable
from adlib.money import to_minor
from payment_service.payments.model import Payment, Report, State
from payment_service.providers.model import Outage, ProviderRejected
from payment_service.providers.protocol import TakesPayments
from payment_service.providers.stripe.client import StripeApi
from payment_service.providers.stripe.messages import payment_report


class StripeDeposits(TakesPayments):
    """Takes payments by card; there is no choice of payment method."""

    is_polled = True
    accepts_transfers = False

    def __init__(self, api: StripeApi) -> None:
        self._api = api

    @override
    def validate(self, choice: Mapping[str, Any], currency_code: str) -> Mapping[str, Any]:
        return choice

    @override
    def outage(self, choice: Mapping[str, Any]) -> Outage | None:
        reason = self._api.health.reason
        return Outage(reason) if reason else None

    @override
    def probe(self, choice: Mapping[str, Any]) -> Outage | None:
        if self._api.health.reason:
            with suppress(Unavailable, ProviderRejected):
                self._api.probe()
        return self.outage(choice)

    @override
    def open(self, payment: Payment) -> Report:
        intent = self._api.create_intent(
            to_minor(payment.amount_micros, payment.currency_code),
            payment.currency_code,
            {"payment_id": str(payment.id), "organization_id": str(payment.organization_id)},
            key=str(payment.id),
        )
        return payment_report(intent)

    @override
    def look_up(self, payment: Payment) -> Report:
        return payment_report(self._api.intent(payment.external_id or ""))

    @override
    def close(self, payment: Payment) -> Report:
        """Cancels the intent, unless it was paid in the meantime or Stripe has deleted it."""
        external_id = payment.external_id or ""
        with suppress(ProviderRejected):
            return payment_report(self._api.cancel_intent(external_id))
        with suppress(ProviderRejected):
            return payment_report(self._api.intent(external_id))
        return Report(external_id, State.EXPIRED)
