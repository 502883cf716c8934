"""Misbehaviour on demand, the webhook queue, and the state that survives a kill."""

import signal
import socket
import time
from uuid import uuid4

import pytest
import stripe


def _misbehave(client, **wanted):
    answer = client.put("/sandbox/behaviour", json=wanted)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _create(sandboxes, payment_id, key=None):
    parameters = {"amount": 50_000, "currency": "usd", "metadata": {"payment_id": payment_id}}
    options = {"idempotency_key": key} if key else {}
    return sandboxes.stripe_client.v1.payment_intents.create(parameters, options=options)


def _pay(sandboxes, payment_id):
    sandboxes.stripe.post("/sandbox/pay", json={"payment_id": payment_id}).raise_for_status()


def _genuine(delivery):
    try:
        stripe.Webhook.construct_event(delivery.raw, delivery.headers["stripe-signature"], "whsec_sandbox")
    except stripe.SignatureVerificationError:
        return False
    return True


def _queued(sandboxes, subject):
    return [one for one in sandboxes.stripe.get("/sandbox/webhooks").json()["webhooks"] if one["subject"] == subject]


@pytest.mark.parametrize("name", ["stripe", "traffic_engine", "wise", "mail"])
def test_health_endpoints_are_exempt_from_misbehaviour(sandboxes, name):
    client = getattr(sandboxes, name)
    _misbehave(client, fail_rate=1, status=500)
    assert client.get("/sandbox/health").json() == {"status": "ok"}
    assert client.get("/v1/anything").status_code == 500
    assert client.delete("/sandbox/behaviour").json()["fail_rate"] == 0


def test_delay_ms_delays_answers(sandboxes):
    _misbehave(sandboxes.wise, delay_ms=300)
    began = time.monotonic()
    sandboxes.wise.get("/v1/transfers/1")
    assert time.monotonic() - began >= 0.3


def test_fail_next_fails_that_many_requests(sandboxes):
    _misbehave(sandboxes.traffic_engine, fail_next=2)
    statuses = [sandboxes.traffic_engine.get("/v5/adv/campaigns").status_code for _ in range(3)]
    assert statuses == [503, 503, 200]


def test_request_with_a_lost_answer_takes_effect(sandboxes):
    key, payment_id = str(uuid4()), str(uuid4())
    _misbehave(sandboxes.stripe, fail_next=1, lose_answers=True, status=500)
    with pytest.raises(stripe.APIError):
        _create(sandboxes, payment_id, key)
    again = _create(sandboxes, payment_id, key)
    assert again.last_response.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    "wanted",
    [{"fail_rate": 2}, {"delay_ms": -1}, {"status": 200}, {"drop_webhooks": 1}, {"sulk": True}, {"fail_next": "1"}],
)
def test_invalid_behaviour_is_refused_and_changes_nothing(sandboxes, wanted):
    answer = sandboxes.stripe.put("/sandbox/behaviour", json={"delay_ms": 5, **wanted})
    assert answer.status_code == 400
    assert next(iter(wanted)) in answer.json()["error"]["message"]
    assert sandboxes.stripe.get("/sandbox/behaviour").json()["delay_ms"] == 0


def test_duplicate_webhooks_are_sent_twice_with_the_same_event(sandboxes, receiver):
    _misbehave(sandboxes.stripe, duplicate_webhooks=True)
    intent = _create(sandboxes, str(uuid4()))
    first, second = receiver.about(intent.id, 2)
    assert first.body["id"] == second.body["id"]


def test_shuffled_webhooks_are_sent_newest_first(sandboxes, receiver):
    _misbehave(sandboxes.stripe, shuffle_webhooks=True)
    payment_id = str(uuid4())
    intent = _create(sandboxes, payment_id)
    _pay(sandboxes, payment_id)
    kinds = [delivery.body["type"] for delivery in receiver.about(intent.id, 2)]
    assert kinds == ["payment_intent.succeeded", "payment_intent.created"]


def test_dropped_webhook_is_not_sent_until_it_is_resent(sandboxes, receiver):
    _misbehave(sandboxes.stripe, drop_webhooks=True)
    dropped = _create(sandboxes, str(uuid4()))
    _misbehave(sandboxes.stripe, drop_webhooks=False)
    sent = _create(sandboxes, str(uuid4()))
    receiver.about(sent.id, 1)
    assert not any(dropped.id.encode() in delivery.raw for delivery in receiver.received)
    (webhook,) = _queued(sandboxes, dropped.id)
    assert webhook["state"] == "DROPPED"
    sandboxes.stripe.post(f"/sandbox/webhooks/{webhook['id']}/resend").raise_for_status()
    assert _genuine(receiver.about(dropped.id, 1)[0])


def test_forged_webhook_fails_verification_and_a_genuine_one_follows(sandboxes, receiver):
    _misbehave(sandboxes.stripe, forge_webhooks=True)
    receiver.answers[:] = [400]
    intent = _create(sandboxes, str(uuid4()))
    assert not _genuine(receiver.about(intent.id, 1)[0])
    _misbehave(sandboxes.stripe, forge_webhooks=False)
    assert _genuine(receiver.about(intent.id, 2)[1])


@pytest.mark.parametrize("refusal", [302, 400, 503])
def test_refused_webhook_is_retried(sandboxes, receiver, refusal):
    receiver.answers[:] = [refusal]
    intent = _create(sandboxes, str(uuid4()))
    first, second = receiver.about(intent.id, 2)
    assert first.body["id"] == second.body["id"]
    assert _genuine(second)


def test_unknown_webhook_cannot_be_resent(sandboxes):
    assert sandboxes.stripe.post("/sandbox/webhooks/99999999/resend").status_code == 404


def test_state_and_unsent_webhooks_survive_a_kill(start, receiver, tmp_path):
    # Port 9 of the loopback interface has no listener: the webhooks stay queued.
    before = start(tmp_path, GATEWAY_URL="http://127.0.0.1:9")
    payment_id, key = str(uuid4()), str(uuid4())
    intent = _create(before, payment_id, key)
    _pay(before, payment_id)
    campaign = {
        "name": "kept",
        "direction": "onclick",
        "rate_model": "cpc",
        "target_url": "https://shop.example/",
        "total_amount": 1,
        "rates": [{"amount": 1}],
    }
    before.traffic_engine.post("/v5/adv/campaigns", json=campaign).raise_for_status()
    before.process.send_signal(signal.SIGKILL)
    before.process.wait(timeout=5)

    after = start(tmp_path)
    assert after.stripe_client.v1.payment_intents.retrieve(intent.id).status == "succeeded"
    assert _create(after, payment_id, key).id == intent.id
    assert after.traffic_engine.get("/v5/adv/campaigns", params={"name": "kept"}).json()["meta"]["total_items"] == 1
    kinds = {delivery.body["type"] for delivery in receiver.about(intent.id, 2)}
    assert kinds == {"payment_intent.created", "payment_intent.succeeded"}

    after.process.terminate()
    assert after.process.wait(timeout=5) == 0


def test_delayed_answer_does_not_delay_shutdown(start, tmp_path):
    slow = start(tmp_path)
    _misbehave(slow.wise, delay_ms=60_000)
    with socket.create_connection(("127.0.0.1", slow.ports["wise-sandbox"])) as waiting:
        waiting.sendall(b"GET /v1/transfers/1 HTTP/1.1\r\nHost: wise\r\n\r\n")
        slow.wise.get("/sandbox/health")
        slow.process.terminate()
        assert slow.process.wait(timeout=5) == 0


def test_missing_key_and_taken_port_are_named(start, sandboxes, tmp_path):
    with pytest.raises(AssertionError, match="WISE_PROFILE_ID must be a number"):
        start(tmp_path, WISE_PROFILE_ID="mine")
    with pytest.raises(AssertionError, match="STRIPE_API_KEY is not set"):
        start(tmp_path, STRIPE_API_KEY="")
    taken = sandboxes.ports["wise-sandbox"]
    with pytest.raises(AssertionError, match=f"wise-sandbox: port {taken} cannot be used"):
        start(tmp_path, WISE_SANDBOX_PORT=str(taken))
    taken = sandboxes.ports["mail-sandbox-smtp"]
    with pytest.raises(AssertionError, match=f"mail-sandbox-smtp: port {taken} cannot be used"):
        start(tmp_path, MAIL_SANDBOX_SMTP_PORT=str(taken))
