"""Cards, by Stripe's payment intents."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import stripe

from adlib.clock import Clock
from adlib.errors import Unavailable
from adlib.money import CurrencyUnsupported, from_minor, to_minor
from adlib.rpc import Runnable
from adlib.telemetry import logger
from payment_service.payments.model import Arrival, Payment, ProviderRejected, Report, State
from payment_service.providers.protocol import Bookings

NAME = "STRIPE"

# To connect, and to answer: 8 seconds together.
TIMEOUT_S = (2.0, 6.0)
_STATES = {
    "requires_payment_method": State.PENDING,
    "requires_confirmation": State.PENDING,
    "requires_action": State.PENDING,
    "requires_capture": State.PROCESSING,
    "processing": State.PROCESSING,
    "succeeded": State.SUCCEEDED,
    "canceled": State.EXPIRED,
}
_log = logger(__name__)


class Stripe:
    """Stripe's API v1."""

    is_watched = False

    def __init__(
        self,
        api_key: str,
        api_base: str,
        webhook_secret: str,
        clock: Clock,
        timeout_s: tuple[float, float] = TIMEOUT_S,
    ) -> None:
        self._webhook_secret = webhook_secret
        self._clock = clock
        self._client = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base},
            max_network_retries=0,
            http_client=stripe.RequestsClient(timeout=timeout_s),
        )

    def check(self, choice: Mapping[str, Any], _currency_code: str) -> Mapping[str, Any]:
        """There is nothing to choose."""
        return choice

    def open(self, payment: Payment) -> Report:
        """Creates the intent, once for the payment's id; PROVIDER_REJECTED, UNAVAILABLE."""
        return self._ask(
            lambda: self._client.v1.payment_intents.create(
                {
                    "amount": to_minor(payment.amount_micros, payment.currency_code),
                    "currency": payment.currency_code.lower(),
                    "automatic_payment_methods": {"enabled": True},
                    "metadata": {"payment_id": str(payment.id), "organization_id": str(payment.organization_id)},
                },
                {"idempotency_key": str(payment.id)},
            )
        )

    def look_up(self, payment: Payment) -> Report:
        """Retrieves the intent; PROVIDER_REJECTED, UNAVAILABLE."""
        return self._ask(lambda: self._client.v1.payment_intents.retrieve(payment.external_id or ""))

    def close(self, payment: Payment) -> Report:
        """Cancels the intent, unless it was paid in the meantime; UNAVAILABLE."""
        try:
            return self._ask(lambda: self._client.v1.payment_intents.cancel(payment.external_id or ""))
        except ProviderRejected:
            return self.look_up(payment)

    def background(self, _bookings: Bookings) -> Sequence[Runnable]:
        """Nothing: it tells by webhooks, and is asked for what they missed."""
        return ()

    def _ask(self, call: Callable[[], stripe.PaymentIntent]) -> Report:
        with _translated():
            return report(call().to_dict())


def report(intent: Mapping[str, Any]) -> Report:
    """What a payment intent, of an answer or of an event, says; what it leaves out says nothing."""
    state = _STATES.get(str(intent.get("status")), State.PENDING)
    message = ""
    if state is State.PENDING and (error := intent.get("last_payment_error")):
        state, message = State.FAILED, str(error.get("message") or "the payment was declined")
    elif state is State.EXPIRED:
        message = "cancelled"
    arrivals = _arrivals(intent) if state is State.SUCCEEDED else ()
    secret = intent.get("client_secret")
    return Report(
        external_id=str(intent.get("id")),
        state=state,
        arrivals=arrivals,
        failure_message=message,
        instructions={"client_secret": secret} if secret else {},
    )


def _arrivals(intent: Mapping[str, Any]) -> Sequence[Arrival]:
    received_minor, currency_code = intent.get("amount_received"), str(intent.get("currency")).upper()
    if not isinstance(received_minor, int) or received_minor <= 0:
        return ()
    try:
        return (Arrival(str(intent.get("id")), from_minor(received_minor, currency_code), currency_code),)
    except CurrencyUnsupported:
        # Nothing of ours is in it.
        _log.error("stripe_currency", intent=intent.get("id"), currency_code=currency_code)
        return ()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (stripe.InvalidRequestError, stripe.CardError) as error:
        raise ProviderRejected(error.user_message or "no reason given") from error
    except stripe.StripeError as error:
        # Among them a wrong key of ours, and an idempotency key that is in use by a call of the same moment.
        _log.warning("stripe_failed", kind=type(error).__name__, status=error.http_status, error=str(error))
        raise Unavailable("the payment provider does not answer; try again with the same idempotency-key") from error
