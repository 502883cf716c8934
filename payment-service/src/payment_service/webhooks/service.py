"""What providers tell us: stored and booked in one transaction, once, in whatever order it comes."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import InvalidArgument, InvalidField
from adlib.telemetry import logger
from payment_service.payments.service import PaymentService
from payment_service.payouts import wise
from payment_service.payouts.service import PayoutService
from payment_service.providers.stripe import provider as stripe
from payment_service.webhooks import store
from payment_service.webhooks.signatures import verify_stripe, verify_wise

_log = logger(__name__)


class WebhookService:
    """Receives events. What is not for us is stored and left alone, so that nobody sends it again."""

    def __init__(
        self,
        db: Database,
        payments: PaymentService,
        payouts: PayoutService,
        stripe_secret: str,
        wise_key: RSAPublicKey,
        clock: Clock,
    ) -> None:
        self._db = db
        self._payments = payments
        self._payouts = payouts
        self._stripe_secret = stripe_secret
        self._wise_key = wise_key
        self._clock = clock

    def receive_stripe(self, body: bytes, signature: str) -> None:
        """An event about a payment intent settles its payment by the state that the intent has; SIGNATURE_INVALID."""
        verify_stripe(body, signature, self._stripe_secret)
        event = _object(body)
        event_id, kind = _text(event, "id"), _text(event, "type")
        with self._db.transaction() as tx:
            if not store.first_time(tx, stripe.NAME, event_id, kind, body, self._clock.now()):
                return
            if not kind.startswith("payment_intent."):
                return
            intent = _inner(_inner(event, "data"), "object")
            payment_id = _uuid(_inner(intent, "metadata").get("payment_id"))
            settled = payment_id and self._payments.settle_in(tx, payment_id, stripe.NAME, stripe.report(intent))
            if not settled:
                _log.warning("webhook_of_unknown_payment", event_id=event_id, kind=kind, intent=intent.get("id"))

    def receive_wise(self, body: bytes, signature: str, delivery_id: str) -> None:
        """A transfer's change of state moves its payout on; SIGNATURE_INVALID."""
        verify_wise(body, signature, self._wise_key)
        event = _object(body)
        kind = _text(event, "event_type")
        # The delivery's id is not signed and may be missing; the state of the payout guards against repeats as well.
        event_id = delivery_id or hashlib.sha256(body).hexdigest()
        with self._db.transaction() as tx:
            if not store.first_time(tx, wise.NAME, event_id, kind, body, self._clock.now()):
                return
            if kind != "transfers#state-change":
                return
            data = _inner(event, "data")
            transfer_id, state = str(_inner(data, "resource").get("id")), str(data.get("current_state"))
            if not self._payouts.settle_in(tx, transfer_id, wise.outcome(state), wise.reason(state)):
                _log.warning("webhook_of_unknown_transfer", event_id=event_id, transfer=transfer_id, state=state)


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise InvalidArgument("the body is no JSON") from error
    if not isinstance(found, dict):
        raise InvalidArgument("the body is no JSON object")
    return found


def _inner(outer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = outer.get(name)
    return found if isinstance(found, dict) else {}


def _text(event: Mapping[str, Any], name: str) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidField(name, "must be a text")
    return value


def _uuid(text: object) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None
