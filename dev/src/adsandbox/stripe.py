"""Stripe: payment intents and events over API v1, and the customer who pays or is declined."""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adsandbox import stripe_wire as wire
from adsandbox.behaviour import Behaviour
from adsandbox.control import ControlError, not_found, read_object
from adsandbox.database import Database
from adsandbox.sandbox import Sandbox, application
from adsandbox.settings import Settings
from adsandbox.stripe_wire import Call, StripeError
from adsandbox.webhooks import SCHEMA as WEBHOOKS_SCHEMA
from adsandbox.webhooks import Webhooks

API_VERSION = "2026-06-24.dahlia"
LONGEST_IDEMPOTENCY_KEY = 255

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  object TEXT NOT NULL,
  type TEXT,
  payment_id TEXT,
  created INTEGER NOT NULL,
  body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS objects_by_payment ON objects (payment_id);
CREATE TABLE IF NOT EXISTS answers (
  idempotency_key TEXT PRIMARY KEY,
  request TEXT NOT NULL,
  request_id TEXT NOT NULL,
  status INTEGER NOT NULL,
  body TEXT NOT NULL
);
"""

_LIST = """
SELECT body FROM objects
WHERE object = :object
  AND (:after IS NULL OR seq < (SELECT seq FROM objects WHERE id = :after))
  AND (:before IS NULL OR seq > (SELECT seq FROM objects WHERE id = :before))
  AND created BETWEEN :from AND :to
  AND (:types IS NULL OR type IN (SELECT value FROM json_each(:types)))
ORDER BY CASE WHEN :before IS NULL THEN -seq ELSE seq END
LIMIT :limit
"""

Json = dict[str, Any]
# What an endpoint does: the call → status and body. Runs inside one transaction.
Work = Callable[[Call], tuple[int, Json]]


def stripe_sandbox(settings: Settings) -> Sandbox:
    """The sandbox, with its state read back."""
    database = Database(settings.state_dir / "stripe.db", SCHEMA, WEBHOOKS_SCHEMA)
    behaviour = Behaviour()

    def sign(body: bytes, _: str, rightly: bool) -> dict[str, str]:
        secret = settings.stripe_webhook_secret if rightly else secrets.token_hex(16)
        return {"Stripe-Signature": signature(body, secret, int(time.time())), "User-Agent": "Stripe/1.0"}

    webhooks = Webhooks(database, behaviour, f"{settings.gateway_url}/webhooks/stripe", sign)
    stripe = Stripe(settings.stripe_api_key, database, webhooks)
    app = application(
        [*stripe.routes(), *webhooks.routes()],
        behaviour,
        lambda status: StripeError("The sandbox was asked to fail.", status=status, kind="api_error").response(),
        {StripeError: _render, HTTPException: _unrecognized},
    )
    return Sandbox("stripe-sandbox", settings.stripe_port, app, database, [webhooks.run])


def signature(body: bytes, secret: str, at_s: int) -> str:
    """The Stripe-Signature header of a body sent at that time."""
    signed = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={signed}"


def _render(_: Request, error: Exception) -> Response:
    return error.response() if isinstance(error, StripeError) else JSONResponse({}, 500)


def _unrecognized(request: Request, error: Exception) -> Response:
    if request.url.path.startswith("/sandbox/"):
        return not_found(request, error)
    return StripeError(f"Unrecognized request URL ({request.method}: {request.url.path}).", status=404).response()


def _id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


class Stripe:
    """Payment intents: requires_payment_method → succeeded or canceled; a decline leaves them open."""

    def __init__(self, api_key: str, database: Database, webhooks: Webhooks) -> None:
        self._api_key = api_key
        self._database = database
        self._webhooks = webhooks

    def routes(self) -> list[Route]:
        """The API of Stripe and the customer's side of it."""

        def route(path: str, method: str, work: Work) -> Route:
            async def endpoint(request: Request) -> Response:
                return self._answer(await self._read(request), work)

            return Route(path, endpoint, methods=[method])

        return [
            route("/v1/payment_intents", "POST", self._create),
            route("/v1/payment_intents", "GET", self._list_intents),
            route("/v1/payment_intents/{id}", "GET", lambda call: (200, self._find("payment_intent", call.object_id))),
            route("/v1/payment_intents/{id}/confirm", "POST", self._confirm),
            route("/v1/payment_intents/{id}/cancel", "POST", self._cancel),
            route("/v1/events", "GET", self._list_events),
            route("/v1/events/{id}", "GET", lambda call: (200, self._find("event", call.object_id))),
            Route("/sandbox/pay", self._pay, methods=["POST"]),
        ]

    async def _read(self, request: Request) -> Call:
        self._check_key(request.headers.get("authorization", ""))
        form = (await request.body()).decode(errors="replace") if request.method == "POST" else request.url.query
        key = request.headers.get("idempotency-key")
        if key is not None and not 0 < len(key) <= LONGEST_IDEMPOTENCY_KEY:
            raise StripeError(
                f"Idempotency keys have 1 to {LONGEST_IDEMPOTENCY_KEY} characters.", kind="idempotency_error"
            )
        return Call(
            method=request.method,
            path=request.url.path,
            parameters=wire.decode(form),
            request_id=_id("req"),
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
        """Does the work once for an idempotency key, and says the same again to a repeat."""
        headers = {"Request-Id": call.request_id, "Stripe-Version": API_VERSION}
        if call.idempotency_key is None:
            with self._database.transaction():
                status, body = work(call)
            return JSONResponse(body, status, headers)
        headers["Idempotency-Key"] = call.idempotency_key
        asked = json.dumps([call.path, call.parameters], sort_keys=True)
        with self._database.transaction():
            # An error raised here is one of the parameters: Stripe keeps no answer for those either.
            before = self._database.row("SELECT * FROM answers WHERE idempotency_key = ?", (call.idempotency_key,))
            if before is None:
                status, body = work(call)
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
        wire.only(
            given,
            *("amount", "automatic_payment_methods", "capture_method", "confirm", "currency", "customer"),
            *("description", "metadata", "payment_method", "payment_method_types", "receipt_email", "return_url"),
            *("statement_descriptor", "statement_descriptor_suffix"),
        )
        amount, currency = wire.amount(given)
        intent = _new_intent(amount, currency, wire.metadata(given), given)
        self._database.execute(
            "INSERT INTO objects (id, object, payment_id, created, body) VALUES (?, 'payment_intent', ?, ?, ?)",
            (intent["id"], intent["metadata"].get("payment_id"), intent["created"], json.dumps(intent)),
        )
        self._emit("payment_intent.created", intent, call)
        return self._settle(intent, given, call) if given.get("confirm") == "true" else (200, intent)

    def _confirm(self, call: Call) -> tuple[int, Json]:
        wire.only(call.parameters, "payment_method", "return_url", "receipt_email")
        return self._settle(self._find("payment_intent", call.object_id), call.parameters, call)

    def _settle(self, intent: Json, given: Json, call: Call) -> tuple[int, Json]:
        """Takes Stripe's test payment methods: one whose name has chargeDeclined in it is declined."""
        _expect_open(intent, "confirm")
        method = str(wire.required(given, "payment_method"))
        if "chargeDeclined" not in method:
            return 200, self._succeed(intent, call)
        declined = self._decline(intent, call)
        return 402, {"error": {**declined["last_payment_error"], "payment_intent": declined}}

    def _cancel(self, call: Call) -> tuple[int, Json]:
        wire.only(call.parameters, "cancellation_reason")
        intent = self._find("payment_intent", call.object_id)
        _expect_open(intent, "cancel")
        intent |= {"status": "canceled", "canceled_at": int(time.time())}
        intent["cancellation_reason"] = call.parameters.get("cancellation_reason")
        self._store(intent)
        self._emit("payment_intent.canceled", intent, call)
        return 200, intent

    def _list_intents(self, call: Call) -> tuple[int, Json]:
        wire.only(call.parameters, "limit", "starting_after", "ending_before", "created")
        return 200, self._list("payment_intent", call, None)

    def _list_events(self, call: Call) -> tuple[int, Json]:
        wire.only(call.parameters, "limit", "starting_after", "ending_before", "created", "type", "types")
        types = list((call.parameters.get("types") or {}).values())
        return 200, self._list("event", call, types or ([kind] if (kind := call.parameters.get("type")) else None))

    def _list(self, kind: str, call: Call, types: list[str] | None) -> Json:
        """A page, newest first, of 10 unless `limit` says otherwise."""
        given = call.parameters
        limit = wire.integer(given, "limit") or 10
        if not 1 <= limit <= 100:
            raise StripeError("limit must be from 1 to 100", code="parameter_invalid_integer", param="limit")
        after, before = given.get("starting_after"), given.get("ending_before")
        for anchor in filter(None, (after, before)):
            self._find(kind, anchor)
        lowest, highest = _created(given.get("created"))
        rows = self._database.rows(
            _LIST,
            {
                "object": kind,
                "after": after,
                "before": before,
                "from": lowest,
                "to": highest,
                "types": json.dumps(types) if types else None,
                "limit": limit + 1,
            },
        )
        page = [json.loads(row["body"]) for row in rows[:limit]]
        return {
            "object": "list",
            "data": page[::-1] if before else page,
            "has_more": len(rows) > limit,
            "url": call.path,
        }

    def _find(self, kind: str, object_id: str) -> Json:
        row = self._database.row("SELECT body FROM objects WHERE object = ? AND id = ?", (kind, object_id))
        if row is None:
            param = "intent" if kind == "payment_intent" else "id"
            raise StripeError(f"No such {kind}: '{object_id}'", status=404, code="resource_missing", param=param)
        found: Json = json.loads(row["body"])
        return found

    def _store(self, intent: Json) -> None:
        self._database.execute("UPDATE objects SET body = ? WHERE id = ?", (json.dumps(intent), intent["id"]))

    def _emit(self, kind: str, intent: Json, call: Call | None) -> None:
        request = {"id": call.request_id, "idempotency_key": call.idempotency_key} if call else None
        event = {
            "id": _id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": int(time.time()),
            "data": {"object": intent},
            "livemode": False,
            "pending_webhooks": 1,
            "request": request or {"id": None, "idempotency_key": None},
            "type": kind,
        }
        self._database.execute(
            "INSERT INTO objects (id, object, type, created, body) VALUES (?, 'event', ?, ?, ?)",
            (event["id"], kind, event["created"], json.dumps(event)),
        )
        self._webhooks.add(str(event["id"]), kind, intent["id"], event)

    def _succeed(self, intent: Json, call: Call | None) -> Json:
        intent |= {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "last_payment_error": None,
            "latest_charge": _id("ch"),
            "payment_method": _id("pm"),
        }
        self._store(intent)
        self._emit("payment_intent.succeeded", intent, call)
        return intent

    def _decline(self, intent: Json, call: Call | None) -> Json:
        intent["latest_charge"] = _id("ch")
        intent["last_payment_error"] = {
            "charge": intent["latest_charge"],
            "code": "card_declined",
            "decline_code": "generic_decline",
            "doc_url": "https://stripe.com/docs/error-codes/card-declined",
            "message": "Your card was declined.",
            "payment_method": {"id": _id("pm"), "object": "payment_method", "type": "card"},
            "type": "card_error",
        }
        self._store(intent)
        self._emit("payment_intent.payment_failed", intent, call)
        return intent

    async def _pay(self, request: Request) -> Response:
        """The customer enters a card: {payment_id, outcome: succeed|decline}."""
        body = await read_object(request)
        payment_id, outcome = body.get("payment_id"), body.get("outcome", "succeed")
        if not isinstance(payment_id, str) or outcome not in ("succeed", "decline"):
            raise ControlError(400, "payment_id must be a string and outcome succeed or decline")
        row = self._database.row(
            "SELECT body FROM objects WHERE object = 'payment_intent' AND payment_id = ? ORDER BY seq DESC",
            (payment_id,),
        )
        if row is None:
            raise ControlError(404, f"Stripe has no payment intent whose metadata.payment_id is {payment_id}")
        intent = json.loads(row["body"])
        if intent["status"] != "requires_payment_method":
            raise ControlError(409, f"payment {payment_id} is {intent['status']} already ({intent['id']})")
        with self._database.transaction():
            return JSONResponse((self._succeed if outcome == "succeed" else self._decline)(intent, None))


def _expect_open(intent: Json, verb: str) -> None:
    if intent["status"] != "requires_payment_method":
        raise StripeError(
            f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}.",
            code="payment_intent_unexpected_state",
        )


def _created(given: Any) -> tuple[int, int]:
    """The least and the greatest time that `created` lets through, in seconds."""
    if isinstance(given, dict):
        wire.only(given, "gt", "gte", "lt", "lte")
        bounds = {name: wire.integer(given, name) for name in given}
        lowest = max(bounds.get("gte") or 0, (bounds.get("gt") or -1) + 1)
        highest = min(bounds.get("lte") or 2**53, (bounds.get("lt") or 2**53) - 1)
        return lowest, highest
    exact = wire.integer({"created": given}, "created")
    return (0, 2**53) if exact is None else (exact, exact)


def _new_intent(amount: int, currency: str, metadata: dict[str, str], given: Json) -> Json:
    intent_id = _id("pi")
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
