"""`adctl sandbox` as typed, against a state folder with the addresses of the running sandboxes."""

import json
import smtplib
from dataclasses import replace
from email.message import EmailMessage
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from adctl.commands.sandbox import app
from adctl.ports import free_port
from adctl.state import prepare

PROFILE = 4_000_001


@pytest.fixture
def run(sandboxes, tmp_path, monkeypatch):
    state = prepare(tmp_path, free_port())
    replace(state, ports={**state.ports, **sandboxes.ports}).save()
    monkeypatch.setenv("ADPLATFORM_HOME", str(tmp_path))
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(one) for one in arguments])


def _payment(sandboxes):
    payment_id = str(uuid4())
    parameters = {"amount": 50_000, "currency": "usd", "metadata": {"payment_id": payment_id}}
    sandboxes.stripe_client.v1.payment_intents.create(parameters)
    return payment_id


def test_payment_can_be_declined_and_then_paid(run, sandboxes):
    payment_id = _payment(sandboxes)
    assert "is declined" in run("stripe", "pay", payment_id, "--outcome", "decline").output
    assert "is paid" in run("stripe", "pay", payment_id).output
    assert "succeeded already" in str(run("stripe", "pay", payment_id).exception)


def test_paid_payment_can_be_refunded_at_the_dashboard_and_disputed(run, sandboxes):
    payment_id = _payment(sandboxes)
    run("stripe", "pay", payment_id, "--card", "pm_card_pendingRefund")
    refunded = run("stripe", "refund", payment_id, "--amount", 700).output
    assert "is pending" in refunded
    refund_id = refunded.split()[0]
    assert "has succeeded" in run("stripe", "end-refund", refund_id).output
    assert "has failed" in run("stripe", "end-refund", refund_id, "--outcome", "fail").output
    assert "is needs_response" in run("stripe", "dispute", payment_id).output
    assert "is lost" in run("stripe", "dispute", payment_id, "--outcome", "lose").output
    assert "has already been refunded" in str(run("stripe", "refund", payment_id).exception)


def test_payout_is_found_by_its_own_id_and_bounces(run, sandboxes, receiver):
    wise, payout_id = sandboxes.wise, str(uuid4())
    quote = wise.post(
        f"/v3/profiles/{PROFILE}/quotes", json={"sourceCurrency": "USD", "targetCurrency": "USD", "targetAmount": 1}
    ).json()
    details = {"abartn": "021000021", "accountNumber": "12345678"}
    holder = {"profile": PROFILE, "accountHolderName": "Ada Zone", "currency": "USD", "type": "aba", "details": details}
    account = wise.post("/v1/accounts", json=holder).json()
    body = {"targetAccount": account["id"], "quoteUuid": quote["id"], "customerTransactionId": payout_id}
    transfer = wise.post("/v1/transfers", json=body).json()
    assert "not funded" in str(run("wise", "bounce", payout_id).exception)
    wise.post(f"/v3/profiles/{PROFILE}/transfers/{transfer['id']}/payments", json={"type": "BALANCE"})
    assert f"transfer {transfer['id']} bounces" in run("wise", "bounce", payout_id).output
    receiver.about(f'"id": {transfer["id"]}', 8)


def test_manual_refund_bounces_in_part(run, receiver):
    number = run("wise", "send", "20", "--currency", "EUR").output.split()[-1]
    receiver.about(f'"id": {number}', 4)
    assert f"transfer {number} bounces" in run("wise", "bounce", number, "--returned", "19.00").output
    receiver.about(f'"id": {number}', 8)
    assert f"0.50 more of transfer {number} came back" in run("wise", "return", number, "0.50").output
    assert "was not sent, or bounces already" in str(run("wise", "charge-back", number).exception)


def test_deposit_is_recalled_in_part(run):
    number = run("wise", "deposit", "ADP-7KQ2-M9XR-4", "12.34", "--currency", "EUR").output.split()[0]
    assert f"{number} was taken back" in run("wise", "recall", number, "--amount", "0.50").output
    assert "less than that is left" in str(run("wise", "recall", number, "--amount", "12").exception)


def test_deposit_arrives_and_is_recalled(run, sandboxes):
    said = run("wise", "deposit", "ADP-7KQ2-M9XR-4", "12.34", "--currency", "EUR").output
    number = said.split()[0]
    assert said == f"{number} has arrived; the webhook is on its way\n"
    assert f"{number} was taken back" in run("wise", "recall", number).output
    assert "taken back already" in str(run("wise", "recall", number).exception)
    assert "not a supported currency" in str(run("wise", "deposit", "x", "1", "--currency", "XXX").exception)
    for amount in ("much", "nan", "1e999999999"):
        assert "amount" in str(run("wise", "deposit", "x", amount).exception)
    # A float would round the amount to 12.34.
    assert "at most two decimals" in str(run("wise", "deposit", "x", "12.340000000000000001").exception)


def test_behaviour_is_set_shown_and_reset(run):
    assert "fail_next=2\n" in run("behaviour", "traffic-engine", "fail_next=2", "status=429").output
    assert "status=429\n" in run("behaviour", "traffic-engine").output
    assert "status=503\n" in run("behaviour", "traffic-engine", "--reset").output
    assert "sulk is not a behaviour" in str(run("behaviour", "wise", "sulk=true").exception)
    assert "KEY=VALUE" in str(run("behaviour", "wise", "sulk").exception)


def test_mails_are_listed_with_their_links_and_printed_in_full(run, sandboxes):
    address, link = f"{uuid4().hex}@example.com", f"https://app.example/verify?token={'x' * 300}"
    assert "no mail yet" in run("mail", "--to", address).output
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "noreply@adplatform.test", address, "Verify [your] address"
    mail.set_content(f"Hello\n{link}")
    with smtplib.SMTP("127.0.0.1", sandboxes.ports["mail-sandbox-smtp"], timeout=10) as smtp:
        smtp.send_message(mail)
    listed = run("mail").output
    assert all(text in listed for text in (address, "Verify [your] address", link))
    (found,) = json.loads(run("mail", "--to", address, "--json").output)
    shown = run("mail", found["id"]).output
    assert f"to: {address}\n" in shown
    assert f"\n\nHello\n{link}\n" in shown
    assert "there is no mail 99999999" in str(run("mail", 99999999).exception)
    assert "fail_next=1\n" in run("behaviour", "mail", "fail_next=1").output


def test_invalid_arguments_are_refused_without_a_request(run):
    assert run("stripe", "pay", "not-an-id").exit_code == 2
    assert run("traffic", uuid4(), "--impressions", -1).exit_code == 2
    assert run("behaviour", "paypal").exit_code == 2


def test_platform_that_was_never_started_is_reported(run, monkeypatch, tmp_path):
    monkeypatch.setenv("ADPLATFORM_HOME", str(tmp_path / "other"))
    assert "adctl up" in str(run("behaviour", "stripe").exception)


def test_missing_tables_ask_whether_the_platform_is_up(run):
    assert "is the platform up?" in str(run("traffic", uuid4(), "--impressions", 1).exception)
