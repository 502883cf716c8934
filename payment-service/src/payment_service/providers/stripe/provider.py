"""Cards, by Stripe's payment intents."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import stripe

from adlib.clock import Clock
from adlib.db import Transaction
from adlib.errors import InvalidArgument, Unavailable
from adlib.ids import creation_time
from adlib.money import to_minor
from adlib.rpc import Runnable
from adlib.telemetry import logger
from payment_service.payments.model import Payment, Report, State
from payment_service.providers.answers import json_object
from payment_service.providers.health import Health
from payment_service.providers.model import Outage, ProviderRejected, SignatureInvalid
from payment_service.providers.protocol import (
    Bookings,
    Event,
    Header,
    Outgoing,
    PaymentUpdate,
    ProviderUpdate,
    RefundReport,
    SeenRefund,
    SentRefund,
)
from payment_service.providers.stripe.objects import (
    Json,
    dispute_report,
    ids,
    inner,
    payment_report,
    refund_report,
)

NAME = "STRIPE"
# What this module reads; webhook endpoints are made with the same.
API_VERSION = "2026-10-28.endive"

# To connect, and to answer: 8 seconds together.
TIMEOUT_S = (2.0, 6.0)
# Stripe knows an idempotency key for 24 hours at least.
_KEYS_LAST = timedelta(hours=20)
# An older signature may be a copy of one that was right.
_TOLERANCE_S = 300
_PAGE = 100
_NOT_FOUND = 404
_CONFLICT = 409
_EVENTS = {
    "payment_intent": ("succeeded", "payment_failed", "processing", "requires_action", "canceled"),
    "refund": ("created", "updated", "failed"),
    "charge.dispute": ("created", "updated", "closed", "funds_withdrawn", "funds_reinstated"),
}
_TYPES = [*(f"{about}.{what}" for about, all_of_it in _EVENTS.items() for what in all_of_it), "charge.refund.updated"]
_log = logger(__name__)


class Stripe:
    """Stripe's API v1."""

    is_watched = False
    takes_transfers = False
    # A bank may send a refund back for some weeks; Stripe's event says so, and this asks for what events missed.
    refunds_followed_for = timedelta(days=60)
    refunds_asked_after = timedelta(days=1)

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
        self._health = Health(clock)
        self._client = stripe.StripeClient(
            api_key,
            stripe_version=API_VERSION,
            base_addresses={"api": api_base},
            max_network_retries=0,
            http_client=stripe.RequestsClient(timeout=timeout_s),
        )

    def check(self, choice: Mapping[str, Any], _currency_code: str) -> Mapping[str, Any]:
        """There is nothing to choose."""
        return choice

    def outage(self, _choice: Mapping[str, Any]) -> Outage | None:
        """That Stripe has not answered for a while."""
        because = self._health.outage
        return Outage(because) if because else None

    def recheck(self, choice: Mapping[str, Any]) -> Outage | None:
        """The same, once Stripe was asked for something small."""
        if self._health.outage:
            with suppress(Unavailable, ProviderRejected), self._translated():
                self._events(limit=1)
        return self.outage(choice)

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
        """Cancels the intent, unless it was paid in the meantime, or Stripe knows of none any more; UNAVAILABLE."""
        external_id, intents = payment.external_id or "", self._client.v1.payment_intents
        with suppress(ProviderRejected):
            return self._ask(lambda: intents.cancel(external_id))
        with suppress(ProviderRejected):
            return self._ask(lambda: intents.retrieve(external_id))
        return Report(external_id, State.EXPIRED)

    def refund(self, payment: Payment, outgoing: Outgoing) -> RefundReport:
        """Refunds the intent's charge, once for the refund's id; PROVIDER_REJECTED, UNAVAILABLE, INVALID_FIELD."""
        amount_minor = to_minor(outgoing.amount_micros, payment.currency_code)
        made = None
        if self._clock.now() - creation_time(outgoing.refund_id) > _KEYS_LAST:
            made = self._made(payment, outgoing)
        if made is None:
            with self._translated():
                made = self._client.v1.refunds.create(
                    {
                        "payment_intent": payment.external_id or "",
                        "amount": amount_minor,
                        "metadata": {"refund_id": str(outgoing.refund_id), "payment_id": str(payment.id)},
                    },
                    {"idempotency_key": str(outgoing.refund_id)},
                ).to_dict()
        return _known(refund_report(made, payment.id, outgoing.refund_id))

    def check_refund(self, _payment: Payment, _amount_micros: int, _sent_as: str) -> SeenRefund | None:
        """Nothing is sent by hand."""
        return None

    def claim_refund(self, tx: Transaction, refund_id: UUID, seen: SeenRefund) -> None:
        """Never asked: nothing is sent by hand."""
        raise NotImplementedError

    def look_up_refund(self, payment: Payment, sent: SentRefund) -> RefundReport:
        """Retrieves the refund; one that has failed stays so. UNAVAILABLE."""
        with self._translated():
            found = self._client.v1.refunds.retrieve(sent.external_id).to_dict()
        report = _known(refund_report(found, payment.id, sent.refund_id))
        return replace(report, is_final=report.state == "FAILED")

    def event(self, body: bytes, header: Header) -> Event:
        """What an event says, signed within the last 300 seconds; SIGNATURE_INVALID, UNAVAILABLE."""
        try:
            stripe.WebhookSignature.verify_header(body, header("stripe-signature"), self._webhook_secret, _TOLERANCE_S)
        # TypeError: of a header that is not ASCII.
        except (stripe.SignatureVerificationError, UnicodeDecodeError, TypeError) as error:
            raise SignatureInvalid("Stripe-Signature") from error
        return self.read(body)

    def read(self, body: bytes) -> Event:
        """The same, of a body that is known to be Stripe's; UNAVAILABLE where Stripe has to be asked for more."""
        found = json_object(body)
        event_id, kind = found.get("id"), found.get("type")
        if not isinstance(event_id, str) or not isinstance(kind, str) or not (event_id and kind):
            raise InvalidArgument("the body is no event: it has no id or no type")
        if not (event_id + kind).isascii():
            raise InvalidArgument("the body is no event: its id and its type must be ASCII")
        about = inner(inner(found, "data"), "object")
        created = found.get("created")
        at = datetime.fromtimestamp(created, UTC) if isinstance(created, int) else None
        return Event(event_id, kind, self._news(kind, about), at, body)

    def background(self, _bookings: Bookings) -> Sequence[Runnable]:
        """Nothing: it tells by webhooks, and is asked for what they missed."""
        return ()

    def missed(self, since: datetime) -> Iterable[Event]:
        """The events since then, unread and oldest first, asked for as they are taken; UNAVAILABLE."""
        with self._translated():
            for event in self._events_since(int(since.timestamp())):
                at = datetime.fromtimestamp(event["created"], UTC)
                yield Event(event["id"], event["type"], None, at, json.dumps(event).encode())

    def _events_since(self, since_s: int) -> Iterator[Json]:
        """From the newest that is older, upwards; where there is none, from the oldest that there is."""
        older, _ = self._events(limit=1, created={"lt": since_s})
        if not older:
            older = self._oldest_events()
            yield from reversed(older)
        has_more = bool(older)
        while has_more:
            newer, has_more = self._events(limit=_PAGE, ending_before=older[0]["id"])
            yield from reversed(newer)
            older = newer or older

    def _oldest_events(self) -> Sequence[Json]:
        events, has_more = self._events(limit=_PAGE)
        while has_more:
            older, has_more = self._events(limit=_PAGE, starting_after=events[-1]["id"])
            events = older or events
        return events

    def _events(self, **page: object) -> tuple[Sequence[Json], bool]:
        """A page, newest first, and whether there is another. As it came: objects of 100 events take 0.1 s to make."""
        answer = self._client.raw_request("get", "/v1/events", types=_TYPES, **page)
        return answer.data["data"], answer.data["has_more"]

    def _news(self, kind: str, about: Json) -> Sequence[ProviderUpdate]:
        """By the state that the object has, whatever the event is called: they come in any order."""
        what = about.get("object")
        if what == "payment_intent" and kind.startswith("payment_intent."):
            (payment_id,) = ids(about, "payment_id")
            if payment_id is None:
                _log.warning("stripe_intent_of_others", intent=about.get("id"), kind=kind)
                return ()
            return (PaymentUpdate(payment_id, payment_report(about)),)
        if what == "refund" and kind.startswith(("refund.", "charge.refund.")):
            return self._refund_news(about)
        if what == "dispute" and kind.startswith("charge.dispute."):
            return self._with_payment(about, lambda payment_id: dispute_report(about, payment_id))
        return ()

    def _refund_news(self, refund: Json) -> Sequence[ProviderUpdate]:
        refund_id, payment_id = ids(refund, "refund_id", "payment_id")
        if refund_id is None or payment_id is None:
            return self._with_payment(refund, lambda payment_id: refund_report(refund, payment_id, None))
        report = refund_report(refund, payment_id, refund_id)
        return (report,) if report else ()

    def _with_payment(self, about: Json, read: Callable[[UUID], ProviderUpdate | None]) -> Sequence[ProviderUpdate]:
        """What an object that names only Stripe's intent says, after how that intent's payment stands.

        Stripe is asked for the intent: this may be the first that we hear of its being paid.
        """
        intent = self._intent(about.get("payment_intent"))
        (payment_id,) = ids(intent, "payment_id")
        if payment_id is None:
            _log.warning("stripe_object_of_others", id=about.get("id"), intent=about.get("payment_intent"))
            return ()
        news = read(payment_id)
        return (PaymentUpdate(payment_id, payment_report(intent)), news) if news else ()

    def _intent(self, intent_id: object) -> Json:
        if not isinstance(intent_id, str) or not intent_id:
            return {}
        with self._translated():
            try:
                return self._client.v1.payment_intents.retrieve(intent_id).to_dict()
            except stripe.InvalidRequestError as error:
                if error.http_status != _NOT_FOUND:
                    raise
                return {}

    def _made(self, payment: Payment, outgoing: Outgoing) -> Json | None:
        """The refund, where Stripe has made it before and may have forgotten by which key."""
        with self._translated():
            page = self._client.v1.refunds.list({"payment_intent": payment.external_id or "", "limit": _PAGE})
        made = (one.to_dict() for one in page.data)
        return next((one for one in made if ids(one, "refund_id") == (outgoing.refund_id,)), None)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (stripe.InvalidRequestError, stripe.CardError) as error:
            self._health.answered()
            raise ProviderRejected(error.user_message or "no reason given") from error
        except stripe.StripeError as error:
            # Among them a wrong key of ours, and an idempotency key that is in use by a call of the same moment.
            _log.warning("stripe_failed", kind=type(error).__name__, status=error.http_status, error=str(error))
            if error.http_status != _CONFLICT:
                status = error.http_status
                self._health.failed(f"Stripe answers with status {status}" if status else "Stripe does not answer")
            raise Unavailable(
                "the payment provider does not answer; try again with the same idempotency-key"
            ) from error
        self._health.answered()

    def _ask(self, call: Callable[[], stripe.PaymentIntent]) -> Report:
        with self._translated():
            return payment_report(call().to_dict())


def _known(report: RefundReport | None) -> RefundReport:
    if report is None:
        raise Unavailable("Stripe's answer does not say how the refund stands")
    return report
