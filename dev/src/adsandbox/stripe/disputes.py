"""Stripe's disputes: the customer's bank withdraws the money and may return it; an inquiry withdraws nothing."""

import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adsandbox.control import ControlError, read_object
from adsandbox.database import Database
from adsandbox.stripe.charges import DISPUTE_FEE_MINOR, new_balance_transaction
from adsandbox.stripe.objects import Json, Objects, new_id

OUTCOMES = ("open", "inquire", "review", "win", "lose")


class Disputes:
    """Opens, advances and closes the disputes of payments."""

    def __init__(self, database: Database, objects: Objects) -> None:
        self._database = database
        self._objects = objects

    def control(self) -> list[Route]:
        """Return the control endpoint of the customer's bank."""
        return [Route("/sandbox/dispute", self._dispute, methods=["POST"])]

    async def _dispute(self, request: Request) -> Response:
        """{payment_id, outcome: open|inquire|review|win|lose, amount?, reason?}; opens the dispute first if needed.

        `open` makes a dispute of an inquiry; `win` closes an inquiry without one.
        """
        body = await read_object(request)
        outcome, amount = body.get("outcome", "open"), body.get("amount")
        if outcome not in OUTCOMES:
            raise ControlError(400, f"outcome must be one of {', '.join(OUTCOMES)}")
        intent = self._objects.intent_of(body.get("payment_id"))
        if intent is None or intent["status"] != "succeeded":
            raise ControlError(404, f"Stripe has nothing paid whose metadata.payment_id is {body.get('payment_id')}")
        charge = self._objects.find("charge", intent["latest_charge"])
        if amount is not None and (isinstance(amount, bool) or not isinstance(amount, int) or amount < 1):
            raise ControlError(400, "amount must be a whole number of minor units, 1 or more")
        with self._database.transaction():
            dispute = self._objects.open_dispute(charge["id"], inquiries=True)
            if dispute is None:
                left = charge["amount_captured"] - charge["amount_refunded"] - self._objects.lost_minor(charge["id"])
                if not 0 < (left if amount is None else amount) <= left:
                    raise ControlError(409, f"{left} of the charge are left to be disputed")
                dispute = self._begin(charge, left if amount is None else amount, body, is_inquiry=outcome == "inquire")
            elif outcome == "inquire" or (outcome == "open" and not dispute["status"].startswith("warning_")):
                raise ControlError(409, f"payment {body['payment_id']} is disputed already ({dispute['id']})")
            self._advance(dispute, outcome)
        return JSONResponse(dispute)

    def _begin(self, charge: Json, amount: int, body: Json, *, is_inquiry: bool) -> Json:
        status = "warning_needs_response" if is_inquiry else "needs_response"
        dispute = self._objects.add(_new_dispute(charge, amount, str(body.get("reason") or "fraudulent"), status))
        self._objects.emit("charge.dispute.created", dispute)
        if not is_inquiry:
            self._withdraw(dispute)
        return dispute

    def _advance(self, dispute: Json, outcome: str) -> None:
        is_inquiry = dispute["status"].startswith("warning_")
        if is_inquiry and outcome in ("open", "lose"):
            dispute["status"] = "needs_response"
            self._withdraw(dispute)
        if outcome == "review":
            dispute["status"] = "warning_under_review" if is_inquiry else "under_review"
            self._objects.emit("charge.dispute.updated", self._objects.save(dispute))
        elif outcome == "win" and is_inquiry:
            self._close(dispute, "warning_closed")
        elif outcome == "win":
            dispute["is_charge_refundable"] = True
            self._book(dispute, dispute["amount"], 0, "dispute_reversal")
            self._close(dispute, "won")
            self._objects.emit("charge.dispute.funds_reinstated", dispute)
        elif outcome == "lose":
            self._close(dispute, "lost")

    def _withdraw(self, dispute: Json) -> None:
        dispute["is_charge_refundable"] = False
        self._book(dispute, -dispute["amount"], DISPUTE_FEE_MINOR, "dispute")
        self._objects.save(self._objects.find("charge", dispute["charge"]) | {"disputed": True})
        self._objects.emit("charge.dispute.funds_withdrawn", self._objects.save(dispute))

    def _close(self, dispute: Json, status: str) -> None:
        dispute["status"] = status
        self._objects.emit("charge.dispute.closed", self._objects.save(dispute))

    def _book(self, dispute: Json, amount: int, fee: int, category: str) -> None:
        booked = new_balance_transaction(dispute, "adjustment", amount, fee, category)
        dispute["balance_transactions"] = [*dispute["balance_transactions"], self._objects.add(booked)]


def _new_dispute(charge: Json, amount: int, reason: str, status: str) -> Json:
    now = int(time.time())
    return {
        "id": new_id("du"),
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {},
        "evidence_details": {
            "due_by": now + 7 * 86_400,
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": True,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {"card": {"brand": "visa", "case_type": "chargeback", "network_reason_code": "10.4"}},
        "reason": reason,
        "status": status,
    }
