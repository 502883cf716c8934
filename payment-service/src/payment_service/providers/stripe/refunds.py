"""Refunds of card payments."""

from dataclasses import replace
from datetime import timedelta

from typing_extensions import override

from adlib.clock import Clock
from adlib.errors import Unavailable
from adlib.ids import creation_time
from adlib.money import to_minor
from payment_service.payments.model import Payment
from payment_service.providers.model import RefundOrder, RefundReport, SentRefund
from payment_service.providers.protocol import SendsRefunds
from payment_service.providers.stripe.client import StripeApi
from payment_service.providers.stripe.messages import refund_report

# Stripe stores an idempotency key for at least 24 hours.
_KEY_VALID_FOR = timedelta(hours=20)


class StripeRefunds(SendsRefunds):
    """Refunds an intent's charge."""

    manual = None
    # A bank may return a refund weeks later. Stripe's event reports that; polling finds those whose event was missed.
    refund_poll_period = timedelta(days=60)
    first_refund_poll_after = timedelta(days=1)

    def __init__(self, api: StripeApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock

    @override
    def refund(self, payment: Payment, order: RefundOrder) -> RefundReport:
        intent_id, refund_id = payment.external_id or "", order.refund_id
        amount_minor = to_minor(order.amount_micros, payment.currency_code)
        refund = None
        if self._clock.now() - creation_time(refund_id) > _KEY_VALID_FOR:
            refund = self._api.refund_of_intent(intent_id, refund_id)
        if refund is None:
            metadata = {"refund_id": str(refund_id), "payment_id": str(payment.id)}
            refund = self._api.create_refund(intent_id, amount_minor, metadata, key=str(refund_id))
        return _understood(refund_report(refund, payment.id, refund_id))

    @override
    def look_up_refund(self, sent: SentRefund) -> RefundReport:
        """Only a failed refund is final."""
        refund = self._api.refund(sent.external_id)
        report = _understood(refund_report(refund, sent.payment_id, sent.refund_id))
        return replace(report, is_final=report.state == "FAILED")


def _understood(report: RefundReport | None) -> RefundReport:
    if report is None:
        raise Unavailable("Stripe's response has no known refund status")
    return report
