"""Stripe: payment intents, refunds and disputes over API v1, and the customer who pays them."""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adsandbox.behaviour import Behaviour
from adsandbox.control import ControlError, not_found, read_object
from adsandbox.database import Database
from adsandbox.sandbox import Sandbox, application
from adsandbox.settings import Settings
from adsandbox.stripe import wire
from adsandbox.stripe.charges import CARDS, card_fee, new_balance_transaction, new_charge
from adsandbox.stripe.disputes import Disputes
from adsandbox.stripe.objects import API_VERSION, Json, Objects, new_id
from adsandbox.stripe.objects import SCHEMA as OBJECTS_SCHEMA
from adsandbox.stripe.refunds import Refunds
from adsandbox.stripe.wire import Call, StripeError
from adsandbox.webhooks import SCHEMA as WEBHOOKS_SCHEMA
from adsandbox.webhooks import Webhooks

MAX_IDEMPOTENCY_KEY_LENGTH = 255

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
  idempotency_key TEXT PRIMARY KEY,
  request TEXT NOT NULL,
  request_id TEXT NOT NULL,
  status INTEGER NOT NULL,
  body TEXT NOT NULL
);
"""

# An endpoint's function of the call, which returns status and body. Runs inside one transaction.
Work = Callable[[Call], tuple[int, Json]]


def build(settings: Settings) -> Sandbox:
    """Return the sandbox with its stored state."""
    database = Database(settings.state_dir / "stripe.db", OBJECTS_SCHEMA, SCHEMA, WEBHOOKS_SCHEMA)
    behaviour, webhook_secret = Behaviour(), settings.text("STRIPE_WEBHOOK_SECRET")

    def sign(body: bytes, _: str, is_genuine: bool) -> dict[str, str]:
        secret = webhook_secret if is_genuine else secrets.token_hex(16)
        return {"Stripe-Signature": signature(body, secret, int(time.time())), "User-Agent": "Stripe/1.0"}

    webhooks = Webhooks(database, behaviour, f"{settings.gateway_url}/webhooks/stripe", sign)
    stripe = Stripe(settings.text("STRIPE_API_KEY"), database, webhooks)
    app = application(
        [*stripe.routes(), *webhooks.routes()],
        behaviour,
        lambda status: StripeError("The sandbox was asked to fail.", status=status, kind="api_error").response(),
        {StripeError: _render, HTTPException: _unrecognized},
    )
    return Sandbox("stripe-sandbox", settings.port("stripe"), app, database, [webhooks.run])


def signature(body: bytes, secret: str, at_s: int) -> str:
    """Return the Stripe-Signature header of a body sent at that time."""
    signed = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={signed}"


def _render(_: Request, error: Exception) -> Response:
    return error.response() if isinstance(error, StripeError) else JSONResponse({}, 500)


def _unrecognized(request: Request, error: Exception) -> Response:
    if request.url.path.startswith("/sandbox/"):
        return not_found(request, error)
    return StripeError(f"Unrecognized request URL ({request.method}: {request.url.path}).", status=404).response()


class Stripe:
    """Payment intents: requires_payment_method → succeeded or canceled; a decline leaves them open."""

    def __init__(self, api_key: str, database: Database, webhooks: Webhooks) -> None:
        self._api_key = api_key
        self._database = database
        self._objects = Objects(database, webhooks)
        self._refunds = Refunds(database, self._objects)
        self._disputes = Disputes(database, self._objects)

    def routes(self) -> list[Route]:
        """Return the routes of Stripe's API and of the customer."""

        def route(path: str, method: str, work: Work) -> Route:
            async def endpoint(request: Request) -> Response:
                return self._answer(await self._read(request), work)

            return Route(path, endpoint, methods=[method])

        def lists(kind: str, *filters: str) -> Work:
            return lambda call: (200, self._objects.page(kind, call, *filters))

        def finds(kind: str) -> Work:
            return lambda call: (200, self._find(kind, call))

        of_charge = ("charge", "payment_intent")
        return [
            route("/v1/payment_intents", "POST", self._create),
            route("/v1/payment_intents", "GET", lists("payment_intent")),
            route("/v1/payment_intents/{id}", "GET", finds("payment_intent")),
            route("/v1/payment_intents/{id}/confirm", "POST", self._confirm),
            route("/v1/payment_intents/{id}/cancel", "POST", self._cancel),
            route("/v1/charges", "GET", lists("charge", "payment_intent")),
            route("/v1/charges/{id}", "GET", finds("charge")),
            route("/v1/refunds", "POST", self._refunds.create),
            route("/v1/refunds", "GET", lists("refund", *of_charge)),
            route("/v1/refunds/{id}", "GET", finds("refund")),
            route("/v1/disputes", "GET", lists("dispute", *of_charge)),
            route("/v1/disputes/{id}", "GET", finds("dispute")),
            route("/v1/balance_transactions", "GET", lists("balance_transaction", "type")),
            route("/v1/balance_transactions/{id}", "GET", finds("balance_transaction")),
            route("/v1/events", "GET", lists("event", "type", "types")),
            route("/v1/events/{id}", "GET", finds("event")),
            Route("/sandbox/pay", self._pay, methods=["POST"]),
            *self._refunds.control(),
            *self._disputes.control(),
        ]

    async def _read(self, request: Request) -> Call:
        self._check_key(request.headers.get("authorization", ""))
        if (version := request.headers.get("stripe-version", API_VERSION)) != API_VERSION:
            raise StripeError(f"Invalid Stripe API version: {version}. This sandbox speaks {API_VERSION}.")
        form = (await request.body()).decode(errors="replace") if request.method == "POST" else request.url.query
        key = request.headers.get("idempotency-key")
        if key is not None and not 0 < len(key) <= MAX_IDEMPOTENCY_KEY_LENGTH:
            raise StripeError(
                f"Idempotency keys have 1 to {MAX_IDEMPOTENCY_KEY_LENGTH} characters.", kind="idempotency_error"
            )
        return Call(
            method=request.method,
            path=request.url.path,
            parameters=wire.decode(form),
            request_id=new_id("req"),
            idempotency_key=key if request.method == "POST" else None,
            object_id=request.path_params.get("id", ""),
        )

    def _check_key(self, header: str) -> None:
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "basic":
            try:
                value = base64.b64decode(value).decode().partition(":")[0]
            except ValueError:
                value = ""
        if not value:
            raise StripeError("You did not provide an API key.", status=401)
        if not hmac.compare_digest(value.encode(), self._api_key.encode()):
            raise StripeError(f"Invalid API Key provided: {value[:8]}****", status=401)

    def _answer(self, call: Call, work: Work) -> Response:
        """Run the work once for an idempotency key; a repeat gets the first answer."""
        headers = {"Request-Id": call.request_id, "Stripe-Version": API_VERSION}
        if call.idempotency_key is None:
            with self._database.transaction():
                status, body = work(call)
                answer = self._objects.expanded(body, call)
            return JSONResponse(answer, status, headers)
        headers["Idempotency-Key"] = call.idempotency_key
        asked = json.dumps([call.path, call.parameters], sort_keys=True)
        with self._database.transaction():
            # An error here is about the parameters; Stripe stores no answer for those either.
            before = self._database.row("SELECT * FROM answers WHERE idempotency_key = ?", (call.idempotency_key,))
            if before is None:
                status, body = work(call)
                body = self._objects.expanded(body, call)
                self._database.execute(
                    "INSERT INTO answers VALUES (?, ?, ?, ?, ?)",
                    (call.idempotency_key, asked, call.request_id, status, json.dumps(body)),
                )
                return JSONResponse(body, status, headers)
        if before["request"] != asked:
            raise StripeError(
                "Keys for idempotent requests can only be used with the same endpoint and parameters they were first "
                f"used with. Try using a key other than '{call.idempotency_key}'.",
                kind="idempotency_error",
            )
        headers |= {"Idempotent-Replayed": "true", "Original-Request": before["request_id"]}
        return JSONResponse(json.loads(before["body"]), before["status"], headers)

    def _create(self, call: Call) -> tuple[int, Json]:
        given = call.parameters
        wire.refuse_unknown(
            given,
            *("amount", "automatic_payment_methods", "capture_method", "confirm", "currency", "customer"),
            *("description", "metadata", "payment_method", "payment_method_types", "receipt_email", "return_url"),
            *("statement_descriptor", "statement_descriptor_suffix"),
        )
        amount, currency = wire.amount(given)
        intent = _new_intent(amount, currency, wire.metadata(given), given)
        self._objects.add(intent, intent["metadata"].get("payment_id"))
        self._objects.emit("payment_intent.created", intent, call)
        return self._settle(intent, given, call) if given.get("confirm") == "true" else (200, intent)

    def _confirm(self, call: Call) -> tuple[int, Json]:
        wire.refuse_unknown(call.parameters, "payment_method", "return_url", "receipt_email")
        return self._settle(self._find("payment_intent", call), call.parameters, call)

    def _settle(self, intent: Json, given: Json, call: Call) -> tuple[int, Json]:
        """Pay with one of Stripe's test payment methods; an unknown one behaves like a Visa."""
        _expect_open(intent, "confirm")
        method = str(wire.required(given, "payment_method"))
        if "chargeDeclined" not in method:
            return 200, self._succeed(intent, method, call)
        declined = self._decline(intent, call)
        return 402, {"error": {**declined["last_payment_error"], "payment_intent": declined}}

    def _cancel(self, call: Call) -> tuple[int, Json]:
        wire.refuse_unknown(call.parameters, "cancellation_reason")
        intent = self._find("payment_intent", call)
        _expect_open(intent, "cancel")
        intent |= {"status": "canceled", "canceled_at": int(time.time())}
        intent["cancellation_reason"] = call.parameters.get("cancellation_reason")
        self._objects.save(intent)
        self._objects.emit("payment_intent.canceled", intent, call)
        return 200, intent

    def _find(self, kind: str, call: Call) -> Json:
        return self._objects.find(kind, call.object_id, "intent" if kind == "payment_intent" else "id")

    def _succeed(self, intent: Json, method: str, call: Call | None) -> Json:
        charge = new_charge(intent, CARDS.get(method, CARDS["pm_card_visa"]), is_paid=True)
        amount = charge["amount"]
        earned = new_balance_transaction(charge, "charge", amount, card_fee(amount), "charge")
        charge["balance_transaction"] = self._objects.add(earned)["id"]
        self._objects.add(charge)
        intent |= {
            "status": "succeeded",
            "amount_received": amount,
            "last_payment_error": None,
            "latest_charge": charge["id"],
            "payment_method": charge["payment_method"],
        }
        self._objects.save(intent)
        self._objects.emit("payment_intent.succeeded", intent, call)
        return intent

    def _decline(self, intent: Json, call: Call | None) -> Json:
        charge = self._objects.add(new_charge(intent, CARDS["pm_card_chargeDeclined"], is_paid=False))
        intent["latest_charge"] = charge["id"]
        intent["last_payment_error"] = {
            "charge": intent["latest_charge"],
            "code": "card_declined",
            "decline_code": "generic_decline",
            "doc_url": "https://stripe.com/docs/error-codes/card-declined",
            "message": "Your card was declined.",
            "payment_method": {"id": charge["payment_method"], "object": "payment_method", "type": "card"},
            "type": "card_error",
        }
        self._objects.save(intent)
        self._objects.emit("payment_intent.payment_failed", intent, call)
        return intent

    async def _pay(self, request: Request) -> Response:
        """Pay as the customer: {payment_id, outcome: succeed|decline, card: one of CARDS}."""
        body = await read_object(request)
        payment_id, outcome = body.get("payment_id"), body.get("outcome", "succeed")
        card = body.get("card", "pm_card_visa")
        if not isinstance(payment_id, str) or outcome not in ("succeed", "decline") or card not in CARDS:
            raise ControlError(
                400, f"payment_id must be a string, outcome succeed or decline, card one of {list(CARDS)}"
            )
        intent = self._objects.intent_of(payment_id)
        if intent is None:
            raise ControlError(404, f"Stripe has no payment intent whose metadata.payment_id is {payment_id}")
        if intent["status"] != "requires_payment_method":
            raise ControlError(409, f"payment {payment_id} is {intent['status']} already ({intent['id']})")
        with self._database.transaction():
            paid = self._succeed(intent, card, None) if outcome == "succeed" else self._decline(intent, None)
            return JSONResponse(paid)


def _expect_open(intent: Json, verb: str) -> None:
    if intent["status"] != "requires_payment_method":
        raise StripeError(
            f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}.",
            code="payment_intent_unexpected_state",
        )


def _new_intent(amount: int, currency: str, metadata: dict[str, str], given: Json) -> Json:
    intent_id = new_id("pi")
    return {
        "id": intent_id,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_received": 0,
        "automatic_payment_methods": {"allow_redirects": "always", "enabled": True},
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": given.get("capture_method", "automatic_async"),
        "client_secret": f"{intent_id}_secret_{secrets.token_hex(12)}",
        "confirmation_method": "automatic",
        "created": int(time.time()),
        "currency": currency,
        "customer": given.get("customer"),
        "description": given.get("description"),
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": metadata,
        "next_action": None,
        "payment_method": None,
        "payment_method_types": list((given.get("payment_method_types") or {"0": "card"}).values()),
        "processing": None,
        "receipt_email": given.get("receipt_email"),
        "statement_descriptor": given.get("statement_descriptor"),
        "status": "requires_payment_method",
    }
