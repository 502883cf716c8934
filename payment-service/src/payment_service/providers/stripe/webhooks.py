"""Stripe's events, by webhook and by its list of events."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import stripe
from typing_extensions import override

from adlib.errors import InvalidArgument
from adlib.telemetry import logger
from payment_service.http_responses import json_object
from payment_service.providers.model import PaymentUpdate, ProviderEvent, ProviderUpdate, SignatureInvalid
from payment_service.providers.protocol import Header, ListsMissedEvents, ReadsWebhooks
from payment_service.providers.stripe.client import StripeApi
from payment_service.providers.stripe.messages import Json, dispute_report, ids, inner, payment_report, refund_report

# Stripe's own tolerance; an older signature may be replayed.
_MAX_SIGNATURE_AGE_S = 300
_log = logger(__name__)


class StripeWebhooks(ReadsWebhooks, ListsMissedEvents):
    """Reads events by the state of their object, not by their type, since they arrive in any order."""

    def __init__(self, api: StripeApi, webhook_secret: str) -> None:
        self._api = api
        self._webhook_secret = webhook_secret

    @override
    def verify(self, body: bytes, header: Header) -> None:
        signature = header("stripe-signature")
        try:
            stripe.WebhookSignature.verify_header(body, signature, self._webhook_secret, _MAX_SIGNATURE_AGE_S)
        # TypeError: the header is not ASCII.
        except (stripe.SignatureVerificationError, UnicodeDecodeError, TypeError) as error:
            raise SignatureInvalid("Stripe-Signature") from error

    @override
    def parse(self, body: bytes) -> ProviderEvent:
        """UNAVAILABLE if the event's intent has to be retrieved and Stripe does not answer."""
        event = json_object(body)
        event_id, kind = event.get("id"), event.get("type")
        if not isinstance(event_id, str) or not isinstance(kind, str) or not (event_id and kind):
            raise InvalidArgument("the body is not an event: it has no id or no type")
        if not (event_id + kind).isascii():
            raise InvalidArgument("the body is not an event: its id and its type must be ASCII")
        about = inner(inner(event, "data"), "object")
        created = event.get("created")
        at = datetime.fromtimestamp(created, UTC) if isinstance(created, int) else None
        return ProviderEvent(event_id, kind, self._updates(kind, about), at, body)

    @override
    def missed_events(self, since: datetime) -> Iterable[ProviderEvent]:
        for event in self._api.events_since(int(since.timestamp())):
            at = datetime.fromtimestamp(event["created"], UTC)
            yield ProviderEvent(event["id"], event["type"], None, at, json.dumps(event).encode())

    def _updates(self, kind: str, about: Json) -> Sequence[ProviderUpdate]:
        object_type = about.get("object")
        if object_type == "payment_intent" and kind.startswith("payment_intent."):
            (payment_id,) = ids(about, "payment_id")
            if payment_id is None:
                _log.warning("stripe_intent_unknown", intent=about.get("id"), kind=kind)
                return ()
            return (PaymentUpdate(payment_id, payment_report(about)),)
        if object_type == "refund" and kind.startswith(("refund.", "charge.refund.")):
            return self._refund_updates(about)
        if object_type == "dispute" and kind.startswith("charge.dispute."):
            return self._with_payment(about, lambda payment_id: dispute_report(about, payment_id))
        return ()

    def _refund_updates(self, refund: Json) -> Sequence[ProviderUpdate]:
        refund_id, payment_id = ids(refund, "refund_id", "payment_id")
        if refund_id is None or payment_id is None:
            return self._with_payment(refund, lambda payment_id: refund_report(refund, payment_id, None))
        report = refund_report(refund, payment_id, refund_id)
        return (report,) if report else ()

    def _with_payment(self, about: Json, read: Callable[[UUID], ProviderUpdate | None]) -> Sequence[ProviderUpdate]:
        """The update from an object that names only Stripe's intent, after a report on the intent's payment.

        The intent is retrieved, as this may be the first event after it was paid.
        """
        intent_id = about.get("payment_intent")
        intent = self._api.find_intent(intent_id) if isinstance(intent_id, str) and intent_id else {}
        (payment_id,) = ids(intent, "payment_id")
        if payment_id is None:
            _log.warning("stripe_object_unknown", id=about.get("id"), intent=intent_id)
            return ()
        update = read(payment_id)
        return (PaymentUpdate(payment_id, payment_report(intent)), update) if update else ()
