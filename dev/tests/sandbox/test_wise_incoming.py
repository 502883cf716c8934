"""The Wise sandbox receives bank transfers: balances, statements, webhooks and recalls."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

PROFILE = 4_000_001


def _day(days):
    return (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="milliseconds")


def _receive(wise, amount=70.25, currency="USD", reference="ADP-1", **more):
    body = {"currency": currency, "amount": amount, "reference": reference, "sender_name": "Ada Zone", **more}
    return wise.post("/sandbox/incoming", json=body).raise_for_status().json()["referenceNumber"]


def _balance(wise, currency):
    found = wise.get(f"/v4/profiles/{PROFILE}/balances", params={"types": "STANDARD"}).raise_for_status().json()
    return next(one for one in found if one["currency"] == currency)


def _lines(wise, currency="USD", **changes):
    balance_id = _balance(wise, currency)["id"]
    path = f"/v1/profiles/{PROFILE}/balance-statements/{balance_id}/statement.json"
    interval = {"intervalStart": _day(-1), "intervalEnd": _day(1), "type": "COMPACT"}
    return wise.get(path, params={"currency": currency, **interval, **changes})


def _of(wise, reference, currency="USD"):
    found = _lines(wise, currency).raise_for_status().json()["transactions"]
    return [one for one in found if one["referenceNumber"] == reference]


def _about(receiver, wise, reference):
    """The webhooks of a movement: the sandbox lists them, because they do not have the statement's reference."""
    known = wise.get("/sandbox/webhooks").raise_for_status().json()["webhooks"]
    bodies = [json.dumps(one["body"]) for one in known if one["subject"] == reference]
    return [delivery for body in bodies for delivery in receiver.about(body, 1)]


def test_deposit_is_in_balance_statement_and_webhook(sandboxes, receiver, wise_key):
    wise = sandboxes.wise
    before = _balance(wise, "EUR")["amount"]["value"]
    reference = _receive(wise, 12.34, "EUR", "invoice 7")
    assert _balance(wise, "EUR")["amount"]["value"] == pytest.approx(before + 12.34, abs=0.001)
    (line,) = _of(wise, reference, "EUR")
    assert (line["type"], line["amount"]) == ("CREDIT", {"value": 12.34, "currency": "EUR"})
    details = line["details"]
    said = (details["type"], details["senderName"], details["paymentReference"])
    assert said == ("DEPOSIT", "Ada Zone", "invoice 7")
    (delivery,) = _about(receiver, wise, reference)
    assert delivery.body["event_type"] == "balances#update"
    data = delivery.body["data"]
    assert (data["amount"], data["currency"], data["transaction_type"]) == (12.34, "EUR", "credit")
    assert data["resource"]["profile_id"] == PROFILE
    assert "invoice 7" not in delivery.raw.decode()
    signature = base64.b64decode(delivery.headers["x-signature-sha256"])
    wise_key.public_key().verify(signature, delivery.raw, padding.PKCS1v15(), hashes.SHA256())


def test_deposit_is_recalled_once_with_the_same_reference_number(sandboxes, receiver):
    wise = sandboxes.wise
    before = _balance(wise, "GBP")["amount"]["value"]
    reference = _receive(wise, 5, "GBP")
    wise.post(f"/sandbox/incoming/{reference}/recall").raise_for_status()
    assert [one["type"] for one in _of(wise, reference, "GBP")] == ["DEBIT", "CREDIT"]
    assert _balance(wise, "GBP")["amount"]["value"] == before
    directions = [one.body["data"]["transaction_type"] for one in _about(receiver, wise, reference)]
    assert directions == ["credit", "debit"]
    assert wise.post(f"/sandbox/incoming/{reference}/recall").status_code == 409
    assert wise.post("/sandbox/incoming/TRANSFER-1/recall").status_code == 404


def test_forged_webhook_has_an_invalid_signature(sandboxes, receiver, wise_key):
    sandboxes.wise.put("/sandbox/behaviour", json={"forge_webhooks": True}).raise_for_status()
    reference = _receive(sandboxes.wise)
    (delivery,) = _about(receiver, sandboxes.wise, reference)
    with pytest.raises(InvalidSignature):
        signature = base64.b64decode(delivery.headers["x-signature-sha256"])
        wise_key.public_key().verify(signature, delivery.raw, padding.PKCS1v15(), hashes.SHA256())


def test_statement_lists_the_interval_newest_first(sandboxes):
    wise = sandboxes.wise
    first, second = _receive(wise), _receive(wise)
    numbers = [one["referenceNumber"] for one in _lines(wise).json()["transactions"]]
    assert numbers.index(second) < numbers.index(first)
    assert _lines(wise, intervalEnd=_day(-0.5)).json()["transactions"] == []


def test_invalid_statement_request_is_refused(sandboxes):
    wise = sandboxes.wise
    for changes in ({"intervalEnd": _day(470)}, {"intervalStart": "soon"}, {"type": "FLAT"}):
        assert _lines(wise, **changes).is_client_error
    path = f"/v1/profiles/{PROFILE}/balance-statements/{_balance(wise, 'USD')['id']}/statement.json"
    assert wise.get(path, params={"currency": "EUR", "intervalStart": _day(-1), "intervalEnd": _day(0)}).is_client_error


def test_account_details_are_active_only_in_open_currencies(sandboxes):
    found = sandboxes.wise.get(f"/v1/profiles/{PROFILE}/account-details").raise_for_status().json()
    ready = {one["currency"]["code"]: one for one in found if one["status"] == "ACTIVE"}
    assert set(ready) == {"USD", "EUR", "GBP"}
    assert all(one["id"] is None for one in found if one["status"] == "AVAILABLE")
    kinds = {one["type"] for one in ready["USD"]["receiveOptions"][0]["details"]}
    assert {"ACCOUNT_HOLDER", "ROUTING_NUMBER", "ACCOUNT_NUMBER"} <= kinds


@pytest.mark.parametrize("changes", [{"amount": 0}, {"amount": None}, {"currency": "XXX"}, {"reference": "x" * 501}])
def test_invalid_deposit_is_refused(sandboxes, changes):
    body = {"currency": "USD", "amount": 1, "reference": "x", "sender_name": "Ada Zone", **changes}
    assert sandboxes.wise.post("/sandbox/incoming", json=body).is_client_error


def test_partial_recall_leaves_the_rest_recallable(sandboxes):
    wise = sandboxes.wise
    reference = _receive(wise, 100, "GBP")
    path = f"/sandbox/incoming/{reference}/recall"
    wise.post(path, json={"amount": "0.50"}).raise_for_status()
    assert wise.post(path, json={"amount": 99.51}).status_code == 409
    wise.post(path).raise_for_status()
    assert [one["amount"]["value"] for one in _of(wise, reference, "GBP")] == [-99.5, -0.5, 100]
    assert wise.post(path).status_code == 409
