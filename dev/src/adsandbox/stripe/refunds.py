"""Stripe's refunds: pending → succeeded, and failed from either, as cards and banks do."""

import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adsandbox.control import MAX_INTEGER, ControlError, read_object
from adsandbox.database import Database
from adsandbox.stripe import wire
from adsandbox.stripe.charges import PENDING_REFUND, new_balance_transaction
from adsandbox.stripe.objects import Json, Objects, new_id
from adsandbox.stripe.wire import Call, StripeError

REASONS = ("duplicate", "fraudulent", "requested_by_customer")
FAILURES = ("declined", "expired_or_canceled_card", "lost_or_stolen_card", "unknown")


class Refunds:
    """Refunds to cards. A refund to the card 7726 stays pending until the control endpoint ends it."""

    def __init__(self, database: Database, objects: Objects) -> None:
        self._database = database
        self._objects = objects

    def create(self, call: Call) -> tuple[int, Json]:
        """Create a refund: POST /v1/refunds."""
        given = call.parameters
        wire.refuse_unknown(given, "amount", "charge", "instructions_email", "metadata", "payment_intent", "reason")
        reason = given.get("reason")
        if reason is not None and reason not in REASONS:
            raise StripeError(f"Invalid reason: must be one of {', '.join(REASONS)}", param="reason")
        charge = self._charge(given)
        return 200, self._make(charge, wire.integer(given, "amount"), wire.metadata(given), reason, call)

    def control(self) -> list[Route]:
        """Return the control endpoints of Stripe's dashboard and of the customer's bank."""
        return [
            Route("/sandbox/refund", self._refund, methods=["POST"]),
            Route("/sandbox/refunds/{id}/{outcome:str}", self._end, methods=["POST"]),
        ]

    def _charge(self, given: Json) -> Json:
        if "payment_intent" in given:
            intent = self._objects.find("payment_intent", str(given["payment_intent"]), "payment_intent")
            if intent["status"] != "succeeded":
                raise StripeError(
                    f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
                    code="resource_missing",
                    param="payment_intent",
                )
            return self._objects.find("charge", intent["latest_charge"])
        return self._objects.find("charge", str(wire.required(given, "charge")), "charge")

    def _make(
        self, charge: Json, amount: int | None, metadata: dict[str, str], reason: str | None, call: Call | None
    ) -> Json:
        left = charge["amount_captured"] - charge["amount_refunded"] - self._objects.lost_minor(charge["id"])
        if self._objects.open_dispute(charge["id"]):
            raise StripeError(
                f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed"
            )
        if left == 0:
            raise StripeError(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
        amount = left if amount is None else amount
        if amount < 1:
            raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
        if amount > left:
            raise StripeError(
                f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})", param="amount"
            )
        is_pending = charge["payment_method_details"]["card"]["last4"] == PENDING_REFUND
        refund = _new_refund(charge, amount, metadata, reason, "pending" if is_pending else "succeeded")
        spent = self._objects.add(new_balance_transaction(refund, "refund", -amount, 0, "refund"))
        refund["balance_transaction"] = spent["id"]
        self._objects.add(refund)
        self._objects.emit("refund.created", refund, call)
        self._add_refunded(charge, amount)
        self._objects.emit("charge.refunded", charge, call)
        return refund

    def _add_refunded(self, charge: Json, amount: int) -> None:
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
        self._objects.save(charge)

    async def _refund(self, request: Request) -> Response:
        """Refund at Stripe's dashboard: {payment_id, amount?}; by default all that is left."""
        body = await read_object(request)
        amount = body.get("amount")
        if amount is not None and (isinstance(amount, bool) or not isinstance(amount, int) or amount > MAX_INTEGER):
            raise ControlError(400, "amount must be a whole number of minor units")
        intent = self._objects.intent_of(body.get("payment_id"))
        if intent is None or intent["status"] != "succeeded":
            raise ControlError(404, f"Stripe has nothing paid whose metadata.payment_id is {body.get('payment_id')}")
        with self._database.transaction():
            charge = self._objects.find("charge", intent["latest_charge"])
            return JSONResponse(self._make(charge, amount, {}, "requested_by_customer", None))

    async def _end(self, request: Request) -> Response:
        """Complete a pending refund (succeed), or fail a pending or succeeded one, as the customer's bank."""
        refund_id, outcome = request.path_params["id"], request.path_params["outcome"]
        reason = (await read_object(request) if await request.body() else {}).get("reason", FAILURES[0])
        if outcome not in ("succeed", "fail") or reason not in FAILURES:
            raise ControlError(400, f"a refund can succeed, or fail for {', '.join(FAILURES)}")
        with self._database.transaction():
            refund = self._objects.find("refund", refund_id)
            if refund["status"] == "failed" or (refund["status"], outcome) == ("succeeded", "succeed"):
                raise ControlError(409, f"refund {refund_id} has {refund['status']} already")
            if outcome == "succeed":
                refund["status"] = "succeeded"
                self._objects.save(refund)
            else:
                self._fail(refund, reason)
            self._objects.emit("refund.updated", refund)
            if outcome == "fail":
                self._objects.emit("refund.failed", refund)
        return JSONResponse(refund)

    def _fail(self, refund: Json, reason: str) -> None:
        back = new_balance_transaction(refund, "refund_failure", refund["amount"], 0, "refund_failure")
        refund |= {"status": "failed", "failure_reason": reason}
        refund["failure_balance_transaction"] = self._objects.add(back)["id"]
        self._objects.save(refund)
        self._add_refunded(self._objects.find("charge", refund["charge"]), -refund["amount"])


def _new_refund(charge: Json, amount: int, metadata: dict[str, str], reason: str | None, status: str) -> Json:
    return {
        "id": new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": int(time.time()),
        "currency": charge["currency"],
        "destination_details": {"card": {"reference_status": "pending", "type": "refund"}, "type": "card"},
        "metadata": metadata,
        "payment_intent": charge["payment_intent"],
        "pending_reason": "processing" if status == "pending" else None,
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": status,
        "transfer_reversal": None,
    }
