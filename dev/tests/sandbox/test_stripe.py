"""The Stripe sandbox, asked by Stripe's own client."""

import time
from uuid import uuid4

import pytest
import stripe

SECRET = "whsec_sandbox"


def _create(client, payment_id=None, key=None, **changes):
    parameters = {
        "amount": 50_000,
        "currency": "usd",
        "metadata": {"payment_id": payment_id or str(uuid4())},
        **changes,
    }
    return client.v1.payment_intents.create(parameters, options={"idempotency_key": key} if key else {})


def _pay(sandboxes, payment_id, outcome="succeed"):
    return sandboxes.stripe.post("/sandbox/pay", json={"payment_id": payment_id, "outcome": outcome})


def _verified(delivery):
    return stripe.Webhook.construct_event(delivery.raw, delivery.headers["stripe-signature"], SECRET)


def test_created_intent_requires_a_payment_method_and_is_listed(sandboxes):
    client = sandboxes.stripe_client
    intents = [_create(client) for _ in range(3)]
    assert intents[0].status == "requires_payment_method"
    assert intents[0].client_secret.startswith(intents[0].id + "_secret_")
    assert client.v1.payment_intents.retrieve(intents[0].id).amount == 50_000

    page = client.v1.payment_intents.list({"limit": 2})
    assert [one.id for one in page.data] == [intents[2].id, intents[1].id]
    assert page.has_more
    following = client.v1.payment_intents.list({"limit": 2, "starting_after": intents[1].id})
    assert following.data[0].id == intents[0].id
    back = client.v1.payment_intents.list({"limit": 1, "ending_before": intents[0].id})
    assert [one.id for one in back.data] == [intents[1].id]
    assert client.v1.payment_intents.list({"created": {"gt": int(time.time()) + 60}}).data == []


def test_same_key_and_parameters_get_the_same_answer(sandboxes):
    client, key, payment_id = sandboxes.stripe_client, str(uuid4()), str(uuid4())
    first = _create(client, payment_id, key)
    second = _create(client, payment_id, key)
    assert second.id == first.id
    assert "idempotent-replayed" not in {name.lower() for name in first.last_response.headers}
    assert second.last_response.headers["Idempotent-Replayed"] == "true"


def test_same_key_and_other_parameters_are_refused(sandboxes):
    client, key = sandboxes.stripe_client, str(uuid4())
    _create(client, key=key)
    with pytest.raises(stripe.IdempotencyError) as refused:
        _create(client, key=key, amount=60_000)
    assert refused.value.http_status == 400


def test_refused_parameters_do_not_consume_the_idempotency_key(sandboxes):
    client, key, payment_id = sandboxes.stripe_client, str(uuid4()), str(uuid4())
    with pytest.raises(stripe.InvalidRequestError):
        _create(client, payment_id, key, amount=1)
    assert _create(client, payment_id, key).amount == 50_000


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"amount": 49}, "amount", "amount_too_small"),
        ({"amount": 100_000_000}, "amount", "amount_too_large"),
        ({"amount": -1}, "amount", "parameter_invalid_integer"),
        ({"amount": "12.5"}, "amount", "parameter_invalid_integer"),
        ({"currency": "xxx"}, "currency", None),
        ({"currency": ""}, "currency", "parameter_missing"),
        ({"metadata": {"k" * 41: "v"}}, f"metadata[{'k' * 41}]", None),
        ({"surprise": "1"}, "surprise", "parameter_unknown"),
    ],
)
def test_bad_parameters_are_named(sandboxes, changes, param, code):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        _create(sandboxes.stripe_client, **changes)
    assert (refused.value.http_status, refused.value.param, refused.value.code) == (400, param, code)


def test_wrong_key_and_unknown_intent_are_refused(sandboxes):
    url = str(sandboxes.stripe.base_url)
    with pytest.raises(stripe.AuthenticationError) as refused:
        _create(stripe.StripeClient("sk_test_other", base_addresses={"api": url.rstrip("/")}))
    assert refused.value.http_status == 401
    with pytest.raises(stripe.InvalidRequestError) as missing:
        sandboxes.stripe_client.v1.payment_intents.retrieve("pi_none")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")


def test_basic_authentication_is_accepted(sandboxes):
    answer = sandboxes.stripe.get("/v1/events", auth=("sk_test_sandbox", ""))
    assert answer.json()["object"] == "list"


def test_paying_sends_a_signed_event_that_stripes_library_verifies(sandboxes, receiver):
    client, payment_id = sandboxes.stripe_client, str(uuid4())
    intent = _create(client, payment_id)
    assert _pay(sandboxes, payment_id).json()["status"] == "succeeded"
    created, succeeded = (_verified(one) for one in receiver.about(intent.id, 2))
    assert (created.type, succeeded.type) == ("payment_intent.created", "payment_intent.succeeded")
    assert succeeded.data.object.amount_received == 50_000
    assert succeeded.data.object.metadata["payment_id"] == payment_id
    assert client.v1.payment_intents.retrieve(intent.id).status == "succeeded"
    assert client.v1.events.retrieve(succeeded.id).type == "payment_intent.succeeded"
    kinds = client.v1.events.list({"types": ["payment_intent.succeeded"], "limit": 1})
    assert kinds.data[0].id == succeeded.id


def test_declined_payment_has_a_reason_and_can_still_be_paid(sandboxes, receiver):
    payment_id = str(uuid4())
    intent = _create(sandboxes.stripe_client, payment_id)
    _pay(sandboxes, payment_id, "decline").raise_for_status()
    failed = _verified(receiver.about(intent.id, 2)[1])
    assert failed.type == "payment_intent.payment_failed"
    found = sandboxes.stripe_client.v1.payment_intents.retrieve(intent.id)
    assert (found.status, found.last_payment_error.code) == ("requires_payment_method", "card_declined")
    assert _pay(sandboxes, payment_id).json()["status"] == "succeeded"


def test_second_payment_and_unknown_payment_are_refused(sandboxes):
    payment_id = str(uuid4())
    _create(sandboxes.stripe_client, payment_id)
    _pay(sandboxes, payment_id)
    again = _pay(sandboxes, payment_id)
    assert again.status_code == 409
    assert "succeeded already" in again.json()["error"]["message"]
    unknown = _pay(sandboxes, "none-such")
    assert unknown.status_code == 404
    assert "metadata.payment_id is none-such" in unknown.json()["error"]["message"]


def test_confirming_with_stripes_test_cards(sandboxes):
    client = sandboxes.stripe_client
    good, bad = _create(client), _create(client)
    confirmed = client.v1.payment_intents.confirm(good.id, {"payment_method": "pm_card_visa"})
    assert confirmed.status == "succeeded"
    with pytest.raises(stripe.CardError) as declined:
        client.v1.payment_intents.confirm(bad.id, {"payment_method": "pm_card_chargeDeclined"})
    assert (declined.value.http_status, declined.value.code) == (402, "card_declined")


def test_cancelled_intent_cannot_be_paid_and_a_paid_one_not_cancelled(sandboxes):
    client, payment_id = sandboxes.stripe_client, str(uuid4())
    intent = _create(client, payment_id)
    assert client.v1.payment_intents.cancel(intent.id).status == "canceled"
    assert _pay(sandboxes, payment_id).status_code == 409
    paid = _create(client)
    client.v1.payment_intents.confirm(paid.id, {"payment_method": "pm_card_visa"})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.cancel(paid.id)
    assert refused.value.code == "payment_intent_unexpected_state"
