"""Stripe's API v1."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import stripe

from adlib.clock import Clock
from adlib.errors import Unavailable
from adlib.telemetry import logger
from payment_service.outage_detector import OutageDetector
from payment_service.providers.model import ProviderRejected
from payment_service.providers.stripe.messages import Json, ids

# The version that `messages` parses; webhook endpoints must be created with the same.
API_VERSION = "2026-10-28.endive"

# To connect, and to read; 8 s in total.
TIMEOUT_S = (2.0, 6.0)
_PAGE_SIZE = 100
_NOT_FOUND = 404
_CONFLICT = 409
_EVENTS = {
    "payment_intent": ("succeeded", "payment_failed", "processing", "requires_action", "canceled"),
    "refund": ("created", "updated", "failed"),
    "charge.dispute": ("created", "updated", "closed", "funds_withdrawn", "funds_reinstated"),
}
_EVENT_TYPES = [*(f"{about}.{what}" for about, types in _EVENTS.items() for what in types), "charge.refund.updated"]
_log = logger(__name__)


class StripeApi:
    """Calls the API for one account. Every method raises PROVIDER_REJECTED or UNAVAILABLE."""

    def __init__(self, api_key: str, api_base: str, clock: Clock, timeout_s: tuple[float, float] = TIMEOUT_S) -> None:
        self.health = OutageDetector(clock)
        self._client = stripe.StripeClient(
            api_key,
            stripe_version=API_VERSION,
            base_addresses={"api": api_base},
            max_network_retries=0,
            http_client=stripe.RequestsClient(timeout=timeout_s),
        )

    def create_intent(self, amount_minor: int, currency_code: str, metadata: dict[str, str], key: str) -> Json:
        """Creates a payment intent, once per idempotency key."""
        with self._translated():
            return self._client.v1.payment_intents.create(
                {
                    "amount": amount_minor,
                    "currency": currency_code.lower(),
                    "automatic_payment_methods": {"enabled": True},
                    "metadata": metadata,
                },
                {"idempotency_key": key},
            ).to_dict()

    def intent(self, intent_id: str) -> Json:
        """Retrieves a payment intent."""
        with self._translated():
            return self._client.v1.payment_intents.retrieve(intent_id).to_dict()

    def find_intent(self, intent_id: str) -> Json:
        """Retrieves a payment intent; an empty object if there is none with this id."""
        with self._translated():
            try:
                return self._client.v1.payment_intents.retrieve(intent_id).to_dict()
            except stripe.InvalidRequestError as error:
                if error.http_status != _NOT_FOUND:
                    raise
                return {}

    def cancel_intent(self, intent_id: str) -> Json:
        """Cancels a payment intent."""
        with self._translated():
            return self._client.v1.payment_intents.cancel(intent_id).to_dict()

    def create_refund(self, intent_id: str, amount_minor: int, metadata: dict[str, str], key: str) -> Json:
        """Refunds an intent's charge, once per idempotency key."""
        with self._translated():
            return self._client.v1.refunds.create(
                {"payment_intent": intent_id, "amount": amount_minor, "metadata": metadata}, {"idempotency_key": key}
            ).to_dict()

    def refund(self, refund_id: str) -> Json:
        """Retrieves a refund."""
        with self._translated():
            return self._client.v1.refunds.retrieve(refund_id).to_dict()

    def refund_of_intent(self, intent_id: str, our_refund_id: object) -> Json | None:
        """The intent's refund whose metadata has this id of the platform's; None if there is none."""
        with self._translated():
            page = self._client.v1.refunds.list({"payment_intent": intent_id, "limit": _PAGE_SIZE})
        refunds = (one.to_dict() for one in page.data)
        return next((one for one in refunds if ids(one, "refund_id") == (our_refund_id,)), None)

    def probe(self) -> None:
        """Makes a small request, whose outcome `health` records."""
        with self._translated():
            self._events(limit=1)

    def events_since(self, since_s: int) -> Iterator[Json]:
        """The events since that Unix time, oldest first, a page at a time as they are consumed."""
        with self._translated():
            yield from self._events_since(since_s)

    def _events_since(self, since_s: int) -> Iterator[Json]:
        """Starts at the newest earlier event; if there is none, at the oldest."""
        earlier, _ = self._events(limit=1, created={"lt": since_s})
        if not earlier:
            earlier = self._oldest_events()
            yield from reversed(earlier)
        has_more = bool(earlier)
        while has_more:
            newer, has_more = self._events(limit=_PAGE_SIZE, ending_before=earlier[0]["id"])
            yield from reversed(newer)
            earlier = newer or earlier

    def _oldest_events(self) -> Sequence[Json]:
        events, has_more = self._events(limit=_PAGE_SIZE)
        while has_more:
            older, has_more = self._events(limit=_PAGE_SIZE, starting_after=events[-1]["id"])
            events = older or events
        return events

    def _events(self, **page: object) -> tuple[Sequence[Json], bool]:
        """A page, newest first, and whether there is another. Raw: the SDK takes 0.1 s to build 100 event objects."""
        response = self._client.raw_request("get", "/v1/events", types=_EVENT_TYPES, **page)
        return response.data["data"], response.data["has_more"]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (stripe.InvalidRequestError, stripe.CardError) as error:
            self.health.record_success()
            raise ProviderRejected(error.user_message or "no reason given") from error
        except stripe.StripeError as error:
            # These include a wrong API key, and an idempotency key that a concurrent call uses (409).
            status = error.http_status
            _log.warning("stripe_failed", kind=type(error).__name__, status=status, error=str(error))
            if status != _CONFLICT:
                self.health.record_failure(f"Stripe returns status {status}" if status else "Stripe does not answer")
            raise Unavailable(
                "the payment provider does not answer; try again with the same idempotency-key"
            ) from error
        self.health.record_success()
