"""The Wise sandbox: quote, recipient, transfer, funding, and the contents of the signed webhooks."""

import base64
from uuid import uuid4

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

PROFILE = 4_000_001
IBAN = "DE89370400440532013000"
PAID = ["incoming_payment_waiting", "processing", "funds_converted", "outgoing_payment_sent"]


def _quote(wise, **changes):
    body = {"sourceCurrency": "USD", "targetCurrency": "USD", "targetAmount": 70.25, "payOut": "BANK_TRANSFER"}
    answer = wise.post(f"/v3/profiles/{PROFILE}/quotes", json={**body, **changes})
    assert answer.status_code == 200, answer.text
    return answer.json()


def _account_body(**changes):
    details = {"legalType": "PRIVATE", "IBAN": IBAN}
    body = {"profile": PROFILE, "accountHolderName": "Ada Zone", "currency": "USD", "type": "iban", "details": details}
    return {**body, **changes}


def _account(wise, **changes):
    answer = wise.post("/v1/accounts", json=_account_body(**changes))
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def _ask_transfer(wise, quote_id, account_id, transaction_id=None, **changes):
    transaction_id = transaction_id or str(uuid4())
    body = {"targetAccount": account_id, "quoteUuid": quote_id, "customerTransactionId": transaction_id}
    return wise.post("/v1/transfers", json={**body, "details": {"reference": "payout"}, **changes})


def _transfer(wise, **quote):
    made = _quote(wise, **quote)
    answer = _ask_transfer(wise, made["id"], _account(wise, currency=made["targetCurrency"]))
    assert answer.status_code == 200, answer.text
    return answer.json()


def _fund(wise, transfer_id):
    return wise.post(f"/v3/profiles/{PROFILE}/transfers/{transfer_id}/payments", json={"type": "BALANCE"})


def _mention(transfer):
    return f'"id": {transfer["id"]}'


def _states(deliveries):
    ordered = sorted((one.body["data"] for one in deliveries), key=lambda data: data["occurred_at"])
    return [data["current_state"] for data in ordered]


def _balance(wise, code):
    balances = wise.get(f"/v4/profiles/{PROFILE}/balances", params={"types": "STANDARD"}).json()
    return next(one["amount"]["value"] for one in balances if one["currency"] == code)


def test_funded_transfer_pays_out_with_a_webhook_for_each_state(sandboxes, receiver):
    wise = sandboxes.wise
    transfer = _transfer(wise)
    assert (transfer["status"], transfer["targetValue"]) == (PAID[0], 70.25)
    funded = _fund(wise, transfer["id"])
    assert (funded.status_code, funded.json()["status"]) == (201, "COMPLETED")
    deliveries = receiver.about(_mention(transfer), 4)
    assert _states(deliveries) == PAID
    previous = [one.body["data"]["previous_state"] for one in deliveries]
    assert previous == [None, *PAID[:-1]]
    assert wise.get(f"/v1/transfers/{transfer['id']}").json()["status"] == "outgoing_payment_sent"
    assert {one.body["data"]["resource"]["profile_id"] for one in deliveries} == {PROFILE}
    assert len({one.headers["x-delivery-id"] for one in deliveries}) == 4


def test_signature_is_over_the_raw_body(sandboxes, receiver, wise_key):
    transfer = _transfer(sandboxes.wise)
    delivery = receiver.about(_mention(transfer), 1)[0]
    signature = base64.b64decode(delivery.headers["x-signature-sha256"])
    wise_key.public_key().verify(signature, delivery.raw, padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(InvalidSignature):
        wise_key.public_key().verify(signature, delivery.raw + b" ", padding.PKCS1v15(), hashes.SHA256())


def test_same_transaction_id_is_the_same_transfer(sandboxes):
    wise, transaction_id = sandboxes.wise, str(uuid4())
    account_id = _account(wise)
    first = _ask_transfer(wise, _quote(wise)["id"], account_id, transaction_id).json()
    again = _ask_transfer(wise, _quote(wise)["id"], account_id, transaction_id).json()
    assert again == first


def test_second_funding_is_refused_and_takes_no_money(sandboxes):
    wise = sandboxes.wise
    transfer = _transfer(wise, sourceCurrency="GBP", targetCurrency="GBP")
    before = _balance(wise, "GBP")
    _fund(wise, transfer["id"])
    again = _fund(wise, transfer["id"])
    assert (again.status_code, again.json()["errors"][0]["code"]) == (422, "transfer.invalid-state")
    assert _balance(wise, "GBP") == pytest.approx(before - 70.75, abs=0.001)


def test_bounced_transfer_is_refunded(sandboxes, receiver):
    wise = sandboxes.wise
    transfer = _transfer(wise, sourceCurrency="CHF", targetCurrency="CHF")
    before = _balance(wise, "CHF")
    _fund(wise, transfer["id"])
    receiver.about(_mention(transfer), 4)
    wise.post(f"/sandbox/transfers/{transfer['customerTransactionId']}/bounce").raise_for_status()
    states = _states(receiver.about(_mention(transfer), 8))
    assert states[4:] == ["bounced_back", "processing", "cancelled", "funds_refunded"]
    assert _balance(wise, "CHF") == before
    again = wise.post(f"/sandbox/transfers/{transfer['id']}/bounce")
    assert again.status_code == 409


def test_early_bounce_follows_the_payment(sandboxes, receiver):
    transfer = _transfer(sandboxes.wise)
    _fund(sandboxes.wise, transfer["id"])
    sandboxes.wise.post(f"/sandbox/transfers/{transfer['id']}/bounce").raise_for_status()
    states = _states(receiver.about(_mention(transfer), 8))
    assert states[:5] == [*PAID, "bounced_back"]


def test_unfunded_or_unknown_transfer_cannot_bounce(sandboxes):
    transfer = _transfer(sandboxes.wise)
    assert sandboxes.wise.post(f"/sandbox/transfers/{transfer['id']}/bounce").status_code == 409
    assert sandboxes.wise.post(f"/sandbox/transfers/{uuid4()}/bounce").status_code == 404


def test_funding_beyond_the_balance_is_rejected(sandboxes):
    wise = sandboxes.wise
    transfer = _transfer(wise, sourceCurrency="PLN", targetCurrency="PLN")
    wise.put("/sandbox/balance", json={"currency": "PLN", "amount": 70.74}).raise_for_status()
    refused = _fund(wise, transfer["id"]).json()
    assert refused == {"type": "BALANCE", "status": "REJECTED", "errorCode": "transfer.insufficient_funds"}
    assert wise.get(f"/v1/transfers/{transfer['id']}").json()["status"] == PAID[0]
    wise.put("/sandbox/balance", json={"currency": "PLN", "amount": 70.75}).raise_for_status()
    assert _fund(wise, transfer["id"]).json()["status"] == "COMPLETED"


def test_fee_is_added_to_a_target_amount_and_taken_from_a_source_amount(sandboxes):
    asked = _quote(sandboxes.wise)
    assert (asked["sourceAmount"], asked["targetAmount"]) == (70.75, 70.25)
    given = _quote(sandboxes.wise, targetAmount=None, sourceAmount=10, targetCurrency="EUR")
    assert (given["sourceAmount"], given["targetAmount"]) == (10, 8.63)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"sourceAmount": 1}, "sourceAmount"),
        ({"targetAmount": None}, "sourceAmount"),
        ({"targetAmount": 0}, "targetAmount"),
        ({"targetAmount": 1.001}, "targetAmount"),
        ({"targetAmount": "1"}, "targetAmount"),
        ({"targetCurrency": "XXX"}, "targetCurrency"),
        ({"payOut": "CASH"}, "payOut"),
    ],
)
def test_bad_quote_is_refused_with_the_field_named(sandboxes, changes, path):
    body = {"sourceCurrency": "USD", "targetCurrency": "USD", "targetAmount": 1, **changes}
    answer = sandboxes.wise.post(f"/v3/profiles/{PROFILE}/quotes", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, path)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"details": {"IBAN": "DE89370400440532013001"}}, "IBAN"),
        ({"accountHolderName": ""}, "accountHolderName"),
        ({"type": "aba", "details": {"abartn": "021000022", "accountNumber": "12345678"}}, "abartn"),
        ({"type": "aba", "details": {"abartn": "021000021", "accountNumber": "1"}}, "accountNumber"),
        ({"type": "aba", "currency": "EUR", "details": {}}, "type"),
        ({"type": "carrier_pigeon"}, "type"),
    ],
)
def test_bad_recipient_is_refused_with_the_field_named(sandboxes, changes, path):
    answer = sandboxes.wise.post("/v1/accounts", json=_account_body(**changes))
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, path)


def test_us_account_is_accepted(sandboxes):
    details = {"abartn": "021000021", "accountNumber": "12345678", "accountType": "CHECKING"}
    account_id = _account(sandboxes.wise, type="aba", details=details)
    assert sandboxes.wise.get(f"/v1/accounts/{account_id}").json()["details"] == details


def test_transfer_needs_its_own_quote_and_a_recipient_in_that_currency(sandboxes):
    wise = sandboxes.wise
    quote_id, account_id = _quote(wise)["id"], _account(wise)
    assert _ask_transfer(wise, str(uuid4()), account_id).json()["errors"][0]["path"] == "quoteUuid"
    assert _ask_transfer(wise, quote_id, 1).json()["errors"][0]["path"] == "targetAccount"
    assert _ask_transfer(wise, quote_id, _account(wise, currency="EUR")).status_code == 422
    assert _ask_transfer(wise, quote_id, account_id, "not-a-uuid").status_code == 422
    assert _ask_transfer(wise, quote_id, account_id).status_code == 200
    assert _ask_transfer(wise, quote_id, account_id).json()["errors"][0]["code"] == "error.quote.used"


def test_wrong_token_profile_and_path_are_refused(sandboxes):
    wise = sandboxes.wise
    assert wise.get("/v1/transfers/1", headers={"Authorization": "Bearer no"}).json()["error"] == "invalid_token"
    assert wise.post("/v3/profiles/1/quotes", json={}).status_code == 403
    assert wise.get("/v1/transfers/1").status_code == 404
    assert wise.get(f"/v1/transfers/{10**30}").status_code == 404
    assert wise.get("/v9/nothing").json()["errors"][0]["code"] == "error.route.not.found"


def test_unfunded_transfer_can_be_cancelled(sandboxes):
    transfer = _transfer(sandboxes.wise)
    assert sandboxes.wise.put(f"/v1/transfers/{transfer['id']}/cancel").json()["status"] == "cancelled"
    assert _fund(sandboxes.wise, transfer["id"]).status_code == 422


def test_partial_bounce_returns_that_part_and_more_on_request(sandboxes, receiver):
    wise = sandboxes.wise
    sent = wise.post("/sandbox/transfers", json={"currency": "SEK", "amount": 100, "reference": "refund"}).json()
    receiver.about(_mention(sent), 4)
    after_sending = _balance(wise, "SEK")
    path = f"/sandbox/transfers/{sent['id']}"
    assert wise.post(f"{path}/return", json={"amount": 1}).status_code == 409
    wise.post(f"{path}/bounce", json={"returned": "75.00"}).raise_for_status()
    assert _states(receiver.about(_mention(sent), 8))[-1] == "funds_refunded"
    assert _balance(wise, "SEK") == pytest.approx(after_sending + 75, abs=0.001)
    wise.post(f"{path}/return", json={"amount": 25}).raise_for_status()
    assert _balance(wise, "SEK") == pytest.approx(after_sending + 100, abs=0.001)


def test_sent_transfer_is_charged_back(sandboxes, receiver):
    wise = sandboxes.wise
    wise.put("/sandbox/balance", json={"currency": "PLN", "amount": 1000}).raise_for_status()
    before = _balance(wise, "PLN")
    sent = wise.post("/sandbox/transfers", json={"currency": "PLN", "amount": 100}).json()
    receiver.about(_mention(sent), 4)
    wise.post(f"/sandbox/transfers/{sent['id']}/charge-back").raise_for_status()
    assert _states(receiver.about(_mention(sent), 5))[-1] == "charged_back"
    assert _balance(wise, "PLN") == pytest.approx(before, abs=0.001)
    assert wise.post(f"/sandbox/transfers/{sent['id']}/charge-back").status_code == 409
