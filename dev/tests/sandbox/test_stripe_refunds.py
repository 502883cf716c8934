"""The Stripe sandbox's charges, refunds and disputes, asked by Stripe's own client."""

from uuid import uuid4

import pytest
import stripe

PAID = 50_000


@pytest.fixture
def client(sandboxes):
    return sandboxes.stripe_client


@pytest.fixture
def paid(sandboxes, client):
    """A paid intent, and our payment id in its metadata."""

    def make(card="pm_card_visa"):
        payment_id = str(uuid4())
        parameters = {"amount": PAID, "currency": "usd", "metadata": {"payment_id": payment_id}}
        intent = client.v1.payment_intents.create(parameters)
        sandboxes.stripe.post("/sandbox/pay", json={"payment_id": payment_id, "card": card}).raise_for_status()
        return payment_id, client.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})

    return make


@pytest.fixture
def dispute(sandboxes):
    def go_on(payment_id, outcome="open", **more):
        return sandboxes.stripe.post("/sandbox/dispute", json={"payment_id": payment_id, "outcome": outcome, **more})

    return go_on


def kinds_about(receiver, intent, count):
    events = [delivery.body for delivery in receiver.about(intent.id, count)]
    return [(event["type"], event["data"]["object"]["status"]) for event in events][2:]


def test_charge_has_a_balance_transaction_with_stripes_fee(paid, client):
    _, intent = paid()
    charge = client.v1.charges.retrieve(intent.latest_charge.id, {"expand": ["balance_transaction"]})
    assert (charge.amount_captured, charge.paid, charge.metadata) == (PAID, True, intent.metadata)
    assert (charge.balance_transaction.fee, charge.balance_transaction.net) == (1480, 48_520)
    both = client.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge.balance_transaction"]})
    assert both.latest_charge.balance_transaction.fee == 1480


def test_partial_refunds_cannot_exceed_the_charge(paid, client, receiver):
    _, intent = paid()
    first = client.v1.refunds.create({"payment_intent": intent.id, "amount": 20_000, "metadata": {"refund_id": "r1"}})
    assert (first.status, first.charge, first.metadata["refund_id"]) == ("succeeded", intent.latest_charge.id, "r1")
    with pytest.raises(stripe.InvalidRequestError) as too_much:
        client.v1.refunds.create({"charge": intent.latest_charge.id, "amount": 30_001})
    assert too_much.value.param == "amount"
    rest = client.v1.refunds.create({"charge": intent.latest_charge.id})
    assert rest.amount == 30_000
    with pytest.raises(stripe.InvalidRequestError) as nothing:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert nothing.value.code == "charge_already_refunded"
    assert [one.id for one in client.v1.refunds.list({"payment_intent": intent.id}).data] == [rest.id, first.id]
    assert client.v1.refunds.retrieve(first.id).amount == 20_000
    kinds = kinds_about(receiver, intent, 6)
    assert kinds == [("refund.created", "succeeded"), ("charge.refunded", "succeeded")] * 2


def test_idempotency_key_refunds_once(paid, client):
    _, intent = paid()
    parameters, options = {"payment_intent": intent.id, "amount": 100}, {"idempotency_key": str(uuid4())}
    ids = {client.v1.refunds.create(parameters, options).id for _ in range(2)}
    assert len(ids) == len(client.v1.refunds.list({"payment_intent": intent.id}).data) == 1


def test_unpaid_intent_cannot_be_refunded(client):
    intent = client.v1.payment_intents.create({"amount": PAID, "currency": "usd"})
    with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
        client.v1.refunds.create({"payment_intent": intent.id})


def test_pending_refund_can_succeed_and_then_fail(paid, client, sandboxes, receiver):
    _, intent = paid("pm_card_pendingRefund")
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    assert refund.status == "pending"
    for outcome in ("succeed", "fail"):
        sandboxes.stripe.post(f"/sandbox/refunds/{refund.id}/{outcome}").raise_for_status()
    failed = client.v1.refunds.retrieve(refund.id, {"expand": ["failure_balance_transaction"]})
    assert (failed.status, failed.failure_reason) == ("failed", "declined")
    assert failed.failure_balance_transaction.amount == PAID
    assert client.v1.charges.retrieve(intent.latest_charge.id).amount_refunded == 0
    assert kinds_about(receiver, intent, 7) == [
        ("refund.created", "pending"),
        ("charge.refunded", "succeeded"),
        ("refund.updated", "succeeded"),
        ("refund.updated", "failed"),
        ("refund.failed", "failed"),
    ]
    assert sandboxes.stripe.post(f"/sandbox/refunds/{refund.id}/fail").status_code == 409


def test_dashboard_refund_has_no_metadata_of_the_platform(paid, client, sandboxes):
    payment_id, _ = paid()
    refund = sandboxes.stripe.post("/sandbox/refund", json={"payment_id": payment_id, "amount": 700}).json()
    assert (refund["amount"], refund["metadata"]) == (700, {})
    assert sandboxes.stripe.post("/sandbox/refund", json={"payment_id": str(uuid4())}).status_code == 404


def test_won_dispute_returns_the_money_without_the_fee(paid, client, dispute, receiver):
    payment_id, intent = paid()
    opened = dispute(payment_id).json()
    assert opened["status"] == "needs_response"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert refused.value.code == "charge_disputed"
    assert dispute(payment_id).status_code == 409
    dispute(payment_id, "win").raise_for_status()
    won = client.v1.disputes.retrieve(opened["id"])
    booked = [(one.amount, one.fee, one.reporting_category) for one in won.balance_transactions]
    assert booked == [(-PAID, 1500, "dispute"), (PAID, 0, "dispute_reversal")]
    assert kinds_about(receiver, intent, 6) == [
        ("charge.dispute.created", "needs_response"),
        ("charge.dispute.funds_withdrawn", "needs_response"),
        ("charge.dispute.closed", "won"),
        ("charge.dispute.funds_reinstated", "won"),
    ]
    assert client.v1.refunds.create({"payment_intent": intent.id}).amount == PAID


def test_amount_of_a_lost_dispute_cannot_be_refunded(paid, client, dispute):
    payment_id, intent = paid()
    assert dispute(payment_id, "lose", amount=PAID + 1).status_code == 409
    assert dispute(payment_id, "lose", amount=20_000).json()["status"] == "lost"
    assert client.v1.refunds.create({"payment_intent": intent.id}).amount == 30_000


def test_inquiry_moves_no_money_until_it_becomes_a_dispute(paid, client, dispute):
    payment_id, _ = paid()
    asked = dispute(payment_id, "inquire").json()
    assert (asked["status"], asked["balance_transactions"]) == ("warning_needs_response", [])
    assert dispute(payment_id, "review").json()["status"] == "warning_under_review"
    assert dispute(payment_id).json()["balance_transactions"][0]["amount"] == -PAID
    assert dispute(payment_id, "lose").json()["status"] == "lost"
    other_id, _ = paid()
    dispute(other_id, "inquire").raise_for_status()
    assert dispute(other_id, "win").json()["status"] == "warning_closed"


def test_another_api_version_is_refused(client, sandboxes):
    answer = sandboxes.stripe.get("/v1/events", headers={"Stripe-Version": "2020-08-27"})
    assert "Invalid Stripe API version" in answer.json()["error"]["message"]
