"""Deposits, refunds and webhooks of Wise's sandbox: matching, recalls, missed events and manual refunds."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from adlib.clock import SystemClock
from adlib.errors import InvalidArgument, Unavailable
from adlib.ids import new_id
from adtesting import eventually
from payment_service.payments.model import Payment, State
from payment_service.providers.model import (
    PaymentUpdate,
    PayoutReport,
    ProviderRejected,
    RefundNotSeen,
    RefundOrder,
    ReversalReport,
    SignatureInvalid,
    TransferState,
    TransferStatus,
    UnmatchedFunds,
)
from payment_service.providers.wise import client
from payment_service.providers.wise.deposits import CurrencyNotReceived


@pytest.fixture
def wise(config, db):
    return config.providers.by_name["WISE"].provider(db, SystemClock())


def _payment(currency_code="USD", amount_micros=500_000_000):
    now = datetime.now(UTC)
    return Payment(
        id=new_id(),
        organization_id=uuid4(),
        provider="WISE",
        state=State.PENDING,
        amount_micros=amount_micros,
        currency_code=currency_code,
        idempotency_key=None,
        external_id=None,
        created_at=now,
        updated_at=now,
    )


@pytest.fixture
def opened(wise):
    def make(**asked):
        payment = _payment(**asked)
        return replace(payment, external_id=wise.payments.open(payment).external_id)

    return make


@pytest.fixture
def transfer(sandboxes):
    def send(text, amount=500, currency="USD", **more):
        body = {"currency": currency, "amount": amount, "reference": text, "sender_name": "Ada Zone", **more}
        return sandboxes.wise.post("/sandbox/incoming", json=body).raise_for_status().json()["referenceNumber"]

    return send


@pytest.fixture
def recall(sandboxes):
    return lambda number: sandboxes.wise.post(f"/sandbox/incoming/{number}/recall").raise_for_status()


@pytest.fixture
def webhooks(sandboxes, outer_gateway):
    """The webhooks of a movement, with their headers, once this many of them have been delivered."""

    def of(number, count=1):
        known = sandboxes.wise.get("/sandbox/webhooks").raise_for_status().json()["webhooks"]
        bodies = [json.dumps(one["body"]).encode() for one in known if one["subject"] == number]
        found = []

        def have_come():
            found[:] = [(body, headers) for _, body, headers in outer_gateway.received if body in bodies]
            return len(found) >= count

        eventually(have_come)
        return found

    return of


def _parse(wise, webhook):
    body, headers = webhook
    wise.webhooks.verify(body, lambda name: headers.get(name, ""))
    return wise.webhooks.parse(body)


def test_opened_payment_has_the_account_of_its_currency_and_a_stable_reference(wise):
    payment = _payment("EUR")
    report = wise.payments.open(payment)
    assert report.external_id.startswith("ADP-")
    assert report.instructions == {
        "account_holder_name": "Ad Platform Ltd",
        "bank_name": "Wise",
        "iban": "BE25967000000042",
        "swift_code": "TRWIBEB1XXX",
        "reference": report.external_id,
    }
    assert report.expires_at - payment.created_at == timedelta(days=14)
    assert wise.payments.open(payment) == report
    assert wise.payments.open(_payment("EUR")).external_id != report.external_id
    american = wise.payments.open(_payment("USD")).instructions
    assert (american["routing_number"], american["account_number"]) == ("026008086", "8310456789")


def test_payment_is_opened_once_wise_answers(wise, sandboxes):
    payment = _payment()
    sandboxes.behave(sandboxes.wise, fail_next=1)
    with pytest.raises(Unavailable):
        wise.payments.open(payment)
    assert wise.payments.open(payment).instructions["reference"]


def test_currency_without_an_account_is_refused(wise, config, db):
    assert wise.payments.validate({}, "GBP") == {}
    with pytest.raises(CurrencyNotReceived, match="EUR, GBP, USD"):
        wise.payments.validate({}, "JPY")
    francs = replace(config.providers.by_name["WISE"], currencies=("CHF",)).provider(db, SystemClock())
    with pytest.raises(ProviderRejected, match="CHF"):
        francs.payments.open(_payment("CHF"))


def test_webhook_is_matched_to_its_payment_by_the_statement(wise, opened, transfer, webhooks):
    payment = opened()
    number = transfer(f"invoice 7, {payment.external_id.lower()}", 12.34)
    (webhook,) = webhooks(number)
    event = _parse(wise, webhook)
    assert (event.kind, event.id) == ("balances#update", hashlib.sha256(webhook[0]).hexdigest())
    (update,) = event.updates
    assert isinstance(update, PaymentUpdate)
    assert (update.payment_id, update.report.external_id) == (payment.id, payment.external_id)
    (funds,) = update.report.incoming
    assert (funds.key, funds.amount_micros, funds.currency_code, funds.is_final) == (
        number, 12_340_000, "USD", True,
    )  # fmt: skip
    assert funds.detail["sender_name"] == "Ada Zone"
    assert payment.external_id.lower() in funds.detail["remittance_text"]


def test_older_webhook_version_has_the_same_updates(wise, opened, transfer, webhooks):
    number = transfer(opened().external_id)
    ((body, _),) = webhooks(number)
    event_body = json.loads(body)
    older = {
        name: event_body["data"][name] for name in ("resource", "amount", "currency", "occurred_at", "transaction_type")
    }
    updates = wise.webhooks.parse(json.dumps({"event_type": "balances#credit", "data": older}).encode()).updates
    assert updates == wise.webhooks.parse(body).updates
    assert updates[0].report.incoming[0].key == number


@pytest.mark.parametrize("text", ["", "for ads", "ADP-2222-2222-2"])
def test_deposit_without_a_known_reference_is_unmatched(wise, transfer, webhooks, text):
    (update,) = _parse(wise, webhooks(transfer(text))[0]).updates
    assert isinstance(update, UnmatchedFunds)
    assert update.funds.detail["remittance_text"] == text


def test_credit_that_is_not_a_bank_transfer_is_ignored(wise, opened, transfer, webhooks):
    number = transfer(opened().external_id, type="BALANCE_INTEREST")
    assert not _parse(wise, webhooks(number)[0]).updates


def test_deposit_with_two_references_is_unmatched(wise, opened, transfer, webhooks):
    number = transfer(f"{opened().external_id} {opened().external_id}")
    (update,) = _parse(wise, webhooks(number)[0]).updates
    assert isinstance(update, UnmatchedFunds)


def test_webhooks_of_equal_amounts_match_their_own_lines(wise, opened, transfer, webhooks):
    payments = [opened() for _ in range(3)]
    numbers = [transfer(payment.external_id, 77) for payment in payments]
    updates = [_parse(wise, webhooks(number)[0]).updates[0] for number in numbers]
    assert [update.payment_id for update in updates] == [payment.id for payment in payments]
    assert [update.report.incoming[0].key for update in updates] == numbers


def test_recall_reverses_the_deposit_whichever_webhook_arrives_first(wise, opened, transfer, recall, webhooks):
    number = transfer(opened().external_id)
    recall(number)
    credit, debit = sorted(webhooks(number, 2), key=lambda one: json.loads(one[0])["data"]["step_id"])
    assert _parse(wise, debit).updates == [ReversalReport(number)]
    assert _parse(wise, credit).updates == []


def test_forged_or_changed_webhook_is_refused(sandboxes, wise, transfer, webhooks):
    ((body, headers),) = webhooks(transfer("a"))
    for other in (body + b" ", body.replace(b"credit", b"debit")):
        with pytest.raises(SignatureInvalid):
            _parse(wise, (other, headers))
    for signature in ("", "=", "AAAA", "é"):
        with pytest.raises(SignatureInvalid):
            _parse(wise, (body, {"x-signature-sha256": signature}))
    sandboxes.behave(sandboxes.wise, forge_webhooks=True)
    with pytest.raises(SignatureInvalid):
        _parse(wise, webhooks(transfer("b"))[0])


def test_webhook_of_another_profile_is_ignored(wise, transfer, webhooks):
    body = json.loads(webhooks(transfer("a"))[0][0])
    body["data"]["resource"]["profile_id"] += 1
    assert not wise.webhooks.parse(json.dumps(body).encode()).updates


def test_webhook_of_an_unsupported_currency_is_ignored_without_calling_wise(wise, sandboxes, transfer, webhooks):
    event_body = json.loads(webhooks(transfer("anything"))[0][0])
    event_body["data"]["currency"] = "XXX"
    sandboxes.behave(sandboxes.wise, fail_rate=1)
    assert not wise.webhooks.parse(json.dumps(event_body).encode()).updates


def test_webhook_that_cannot_be_parsed_is_refused(wise):
    profile = {"resource": {"profile_id": 4_000_001}}
    with pytest.raises(InvalidArgument):
        wise.webhooks.parse(b"{")
    with pytest.raises(InvalidArgument):
        wise.webhooks.parse(b"[]")
    with pytest.raises(InvalidArgument):
        wise.webhooks.parse(b"[" * 5_000 + b"]" * 5_000)
    for data in ({}, {"amount": "x", "currency": "USD"}, {"amount": 1, "currency": "USD", "occurred_at": "soon"}):
        with pytest.raises(InvalidArgument):
            wise.webhooks.parse(json.dumps({"event_type": "balances#update", "data": {**profile, **data}}).encode())
    assert not wise.webhooks.parse(b'{"event_type": "cards#transaction-state-change"}').updates


def test_webhook_is_unavailable_while_the_statement_cannot_be_read(sandboxes, wise, transfer, webhooks):
    (webhook,) = webhooks(transfer("a"))
    sandboxes.behave(sandboxes.wise, fail_next=1)
    with pytest.raises(Unavailable):
        _parse(wise, webhook)
    assert _parse(wise, webhook).updates
    assert client._GET_DEADLINE_S < 5, "Wise waits 5 s for the answer to a webhook"


def test_trickling_response_of_wise_times_out(trickling, monkeypatch):
    # A smaller value of the constant.
    monkeypatch.setattr(client, "_GET_DEADLINE_S", 0.3)
    with pytest.raises(Unavailable, match="ReadTimeout"):
        client.WiseClient(trickling, "token", 4_000_001).account_instructions("USD")


def test_transfer_event_reports_the_payouts_status(wise):
    data = {"resource": {"id": 16_500_000, "profile_id": 4_000_001}, "current_state": "outgoing_payment_sent"}
    event = wise.webhooks.parse(json.dumps({"event_type": "transfers#state-change", "data": data}).encode())
    assert event.updates == [PayoutReport("16500000", TransferStatus(TransferState.PAID))]


def test_missed_events_cover_the_statements_of_all_currencies(sandboxes, wise, opened, transfer, recall):
    sandboxes.behave(sandboxes.wise, drop_webhooks=True)
    started_at = datetime.now(UTC)
    payments = [opened(currency_code=code) for code in ("EUR", "GBP", "USD")]
    numbers = [transfer(payment.external_id, 5, payment.currency_code) for payment in payments]
    back = transfer(opened().external_id)
    recall(back)
    missed = list(wise.missed_events.missed_events(started_at))
    assert missed == sorted(missed, key=lambda event: event.at)
    events = {event.id: event for event in missed}
    for payment, number in zip(payments, numbers, strict=True):
        event = events[f"{number}/credit"]
        assert event.updates[0].payment_id == payment.id
        assert started_at <= event.at + timedelta(milliseconds=1)
        assert wise.webhooks.parse(event.body).updates == event.updates
    assert f"{back}/credit" not in events
    assert (
        wise.webhooks.parse(events[f"{back}/debit"].body).updates
        == events[f"{back}/debit"].updates
        == [ReversalReport(back)]
    )
    assert not list(wise.missed_events.missed_events(datetime.now(UTC) + timedelta(days=1)))


def test_looking_up_a_payment_finds_every_deposit_with_its_reference(wise, opened, transfer, recall):
    payment = opened()
    assert wise.payments.look_up(payment).incoming == []
    numbers = [transfer(payment.external_id, amount) for amount in (1, 2)]
    recall(transfer(payment.external_id, 3))
    transfer(opened().external_id, 4)
    report = wise.payments.look_up(payment)
    assert (report.external_id, report.state) == (payment.external_id, State.PENDING)
    assert [funds.key for funds in report.incoming] == numbers
    closed = wise.payments.close(payment)
    assert (closed.state, closed.incoming) == (State.EXPIRED, report.incoming)


def _sent(sandboxes, amount=70.25, fund=True, text="refund"):
    """A transfer that staff sent by hand and that the recipient has received."""
    wise = sandboxes.wise
    quote = wise.post(
        "/v3/profiles/4000001/quotes",
        json={"sourceCurrency": "USD", "targetCurrency": "USD", "targetAmount": amount, "payOut": "BANK_TRANSFER"},
    ).raise_for_status()  # fmt: skip
    details = {"abartn": "021000021", "accountNumber": "12345678"}
    holder = {"profile": 4_000_001, "accountHolderName": "Ada Zone", "currency": "USD", "type": "aba"}
    account = wise.post("/v1/accounts", json={**holder, "details": details}).raise_for_status().json()
    body = {"targetAccount": account["id"], "quoteUuid": quote.json()["id"], "customerTransactionId": str(uuid4())}
    body["details"] = {"reference": text}
    transfer_id = wise.post("/v1/transfers", json=body).raise_for_status().json()["id"]
    if fund:
        path = f"/v3/profiles/4000001/transfers/{transfer_id}/payments"
        wise.post(path, json={"type": "BALANCE"}).raise_for_status()
        eventually(lambda: wise.get(f"/v1/transfers/{transfer_id}").json()["status"] == "outgoing_payment_sent")
    return str(transfer_id)


def test_manual_refund_must_match_a_sent_transfer(sandboxes, wise):
    payment, refund_id = _payment(), uuid4()
    sent = _sent(sandboxes)
    report = wise.refunds.refund(payment, RefundOrder(refund_id, 70_250_000, sent))
    assert (report.external_id, report.refund_id, report.payment_id) == (sent, refund_id, payment.id)
    assert (report.amount_micros, report.state) == (70_250_000, "SUCCEEDED")
    assert wise.refunds.refund(payment, RefundOrder(refund_id, 70_250_000, sent)) == report
    with pytest.raises(RefundNotSeen, match="another refund"):
        wise.refunds.refund(payment, RefundOrder(uuid4(), 70_250_000, sent))
    unfunded = _sent(sandboxes, fund=False)
    wrong = ((70_250_001, sent), (1, unfunded), (1, "1"), (1, ""), (1, "../1"), (1, "٣"), (1, f"0{sent}"))
    for amount_micros, sent_as in wrong:
        with pytest.raises(RefundNotSeen):
            wise.refunds.refund(payment, RefundOrder(refund_id, amount_micros, sent_as))
    with pytest.raises(RefundNotSeen):
        wise.refunds.refund(_payment("EUR"), RefundOrder(refund_id, 70_250_000, sent))


def test_returned_outgoing_transfer_is_not_a_deposit(sandboxes, wise, opened):
    started_at, payment = datetime.now(UTC), opened()
    sent = _sent(sandboxes, text=payment.external_id)
    sandboxes.wise.post(f"/sandbox/transfers/{sent}/bounce").raise_for_status()
    eventually(lambda: sandboxes.wise.get(f"/v1/transfers/{sent}").json()["status"] == "funds_refunded")
    updates = [
        one
        for event in wise.missed_events.missed_events(started_at)
        for one in event.updates
        if event.id.startswith(f"TRANSFER-{sent}/")
    ]
    assert updates == [ReversalReport(f"TRANSFER-{sent}")]
    assert wise.payments.look_up(payment).incoming == []


def test_payout_transfer_cannot_be_claimed_as_a_refund(sandboxes, wise, sql):
    sent = _sent(sandboxes)
    sql.execute(
        """
        INSERT INTO payouts (id, organization_id, publisher_id, amount_micros, currency_code, state, destination,
          transfer_id, attempts, next_attempt_at, created_at, updated_at)
        VALUES (%s, %s, %s, 70250000, 'USD', 'PAID', '{}', %s, 1, now(), now(), now())
        """,
        (new_id(), uuid4(), uuid4(), sent),
    )
    with pytest.raises(RefundNotSeen, match="payout"):
        wise.refunds.refund(_payment(), RefundOrder(uuid4(), 70_250_000, sent))
