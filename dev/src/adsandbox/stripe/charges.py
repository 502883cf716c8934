"""Stripe's charges, and the balance transactions of charges, refunds and disputes."""

import time

from adsandbox.stripe.objects import Json, new_id

CARDS = {"pm_card_visa": "4242", "pm_card_pendingRefund": "7726", "pm_card_chargeDeclined": "0002"}
PENDING_REFUND = CARDS["pm_card_pendingRefund"]
DISPUTE_FEE_MINOR = 1500


def card_fee(amount_minor: int) -> int:
    """Return the fee in minor units: 2.9 % and 30."""
    return amount_minor * 29 // 1000 + 30


def new_charge(intent: Json, last4: str, *, is_paid: bool) -> Json:
    """Return a new charge of the intent, with the intent's metadata, which Stripe copies."""
    return {
        "id": new_id("ch"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if is_paid else 0,
        "amount_refunded": 0,
        "balance_transaction": None,
        "captured": is_paid,
        "created": int(time.time()),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None if is_paid else "card_declined",
        "failure_message": None if is_paid else "Your card was declined.",
        "livemode": False,
        "metadata": dict(intent["metadata"]),
        "paid": is_paid,
        "payment_intent": intent["id"],
        "payment_method": new_id("pm"),
        "payment_method_details": {"card": {"brand": "visa", "last4": last4}, "type": "card"},
        "refunded": False,
        "status": "succeeded" if is_paid else "failed",
    }


def new_balance_transaction(source: Json, kind: str, amount_minor: int, fee_minor: int, category: str) -> Json:
    """Return a new balance transaction for the object."""
    fee = {"amount": fee_minor, "application": None, "currency": source["currency"], "type": "stripe_fee"}
    return {
        "id": new_id("txn"),
        "object": "balance_transaction",
        "amount": amount_minor,
        "available_on": int(time.time()),
        "balance_type": "payments",
        "created": int(time.time()),
        "currency": source["currency"],
        "description": None,
        "exchange_rate": None,
        "fee": fee_minor,
        "fee_details": [{**fee, "description": "Stripe processing fees"}] if fee_minor else [],
        "net": amount_minor - fee_minor,
        "reporting_category": category,
        "source": source["id"],
        "status": "available",
        "type": kind,
    }
