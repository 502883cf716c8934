"""Disputes, from Stripe's sandbox to the wallet."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import grpc
import pytest
import stripe
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.options.v1.options_pb2 import Permission
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import refunds_pb2, refunds_pb2_grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adtesting import eventually

PAID = 500_000_000
UNIT = 1_000_000
FEE = 15 * UNIT
SECRET = "whsec_payment"


def reason(error: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    found = ErrorInfo()
    assert any(detail.Unpack(found) for detail in rpc_status.from_call(error.value).details)
    return found.reason


@pytest.fixture
def pay(customer, sandboxes, gateway):
    def make() -> str:
        payment_id = customer.create().payment.id
        sandboxes.pay(payment_id)
        eventually(lambda: customer.get(payment_id).state == pb.Payment.SUCCEEDED)
        return payment_id

    return make


@pytest.fixture
def bank(sandboxes):
    """The customer's bank."""

    def end_dispute(payment_id: str, outcome: str, **more: object) -> dict[str, object]:
        body = {"payment_id": payment_id, "outcome": outcome, **more}
        return sandboxes.stripe.post("/sandbox/dispute", json=body).raise_for_status().json()

    return end_dispute


@pytest.fixture
def hold(customer, ledger, identities):
    """Holds an amount for a campaign, which may then be spent."""

    def hold(amount_micros: int, key: str = "k") -> None:
        request = pb.HoldBudgetRequest(
            organization_id=str(customer.organization_id), campaign_id=str(uuid4()), amount_micros=amount_micros,
            currency_code="USD", idempotency_key=key,
        )  # fmt: skip
        ledger.HoldBudget(request, metadata=identities.service_headers("campaign-service"))

    return hold


def money(customer) -> tuple[int, int, int]:
    balance = customer.balance()
    return balance.available_micros, balance.reserved_micros, balance.debt_micros


def fees(sql, payment_id: str) -> list[int]:
    rows = sql.execute("SELECT amount_micros FROM transfers WHERE kind = 'FEE' AND reference = %s", [payment_id])
    return [amount_micros for (amount_micros,) in rows]


def test_open_dispute_freezes_its_amount_and_blocks_refunds(
    customer, pay, bank, sql, channel, identities, access, sound
) -> None:
    payment_id = pay()
    bank(payment_id, "open", amount=30_000)
    disputed = eventually(lambda: one if (one := customer.get(payment_id)).state == pb.Payment.DISPUTED else None)
    assert (disputed.disputed_micros, disputed.paid_micros) == (300 * UNIT, PAID)
    assert money(customer) == (200 * UNIT, 300 * UNIT, 0)
    person, organization_id = identities.person(), uuid4()
    access.grant(person, organization_id, Organization.PLATFORM, Permission.PAYMENTS_APPROVE)
    with pytest.raises(grpc.RpcError) as refused:
        refunds_pb2_grpc.RefundServiceStub(channel).RefundPayment(
            refunds_pb2.RefundPaymentRequest(payment_id=payment_id, amount_micros=UNIT),
            metadata=identities.headers(person, organization_id),
        )
    assert reason(refused) == "PAYMENT_STATE_INVALID"
    eventually(lambda: fees(sql, payment_id) == [FEE])
    assert sound()


def test_won_dispute_releases_its_amount_but_not_the_fee(customer, pay, bank, sql, sound) -> None:
    payment_id = pay()
    bank(payment_id, "open")
    eventually(lambda: money(customer) == (0, PAID, 0))
    bank(payment_id, "review")
    bank(payment_id, "win")
    eventually(lambda: customer.get(payment_id).state == pb.Payment.SUCCEEDED)
    assert money(customer) == (PAID, 0, 0)
    assert customer.get(payment_id).disputed_micros == 0
    assert fees(sql, payment_id) == [FEE]
    assert sound()


def test_lost_dispute_of_spent_money_becomes_debt_that_blocks_spend(customer, pay, bank, hold, sound) -> None:
    payment_id = pay()
    hold(400 * UNIT)
    bank(payment_id, "open")
    eventually(lambda: money(customer) == (0, 100 * UNIT, 0))
    bank(payment_id, "lose")
    eventually(lambda: money(customer) == (0, 0, 400 * UNIT))
    assert (customer.get(payment_id).state, customer.get(payment_id).disputed_micros) == (pb.Payment.DISPUTED, PAID)
    with pytest.raises(grpc.RpcError) as refused:
        hold(1, key="another")
    assert reason(refused) == "ORGANIZATION_IN_DEBT"
    pay()
    assert money(customer) == (100 * UNIT, 0, 0)
    assert sound()


def test_lost_dispute_debits_deposits_made_while_it_was_open(customer, pay, bank, hold, sound) -> None:
    payment_id = pay()
    hold(400 * UNIT)
    bank(payment_id, "open")
    eventually(lambda: money(customer) == (0, 100 * UNIT, 0))
    pay()
    assert money(customer) == (PAID, 100 * UNIT, 0)
    bank(payment_id, "lose")
    eventually(lambda: money(customer) == (100 * UNIT, 0, 0))
    assert sound()


def test_released_money_repays_debt_first(customer, pay, bank, hold, sound) -> None:
    won, lost = pay(), pay()
    hold(400 * UNIT)
    bank(won, "open")
    eventually(lambda: money(customer) == (100 * UNIT, PAID, 0))
    bank(lost, "lose")
    eventually(lambda: money(customer) == (0, PAID, 400 * UNIT))
    bank(won, "win")
    eventually(lambda: money(customer) == (100 * UNIT, 0, 0))
    assert sound()


def test_inquiry_books_nothing_until_it_becomes_a_dispute(customer, pay, bank, gateway, sql) -> None:
    asked, disputed = pay(), pay()
    for payment_id in (asked, disputed):
        bank(payment_id, "inquire")
    bank(asked, "win")
    bank(disputed, "open")
    eventually(lambda: customer.get(disputed).state == pb.Payment.DISPUTED)
    eventually(lambda: any(b"warning_closed" in body for _, body, _ in gateway.received))
    eventually(lambda: fees(sql, disputed) == [FEE])
    assert customer.get(asked).state == pb.Payment.SUCCEEDED
    assert money(customer) == (PAID, PAID, 0)
    assert fees(sql, asked) == []


def test_lost_dispute_won_on_appeal_returns_the_money(customer, pay, bank, gateway, hold, sql, sound) -> None:
    payment_id = pay()
    hold(400 * UNIT)
    dispute = bank(payment_id, "lose")
    eventually(lambda: money(customer) == (0, 0, 400 * UNIT))
    for status in ("appeal_needs_response", "appeal_under_review", "won", "lost"):
        changed = {**dispute, "status": status}
        event = {"id": f"evt_{uuid4().hex}", "type": "charge.dispute.updated", "data": {"object": changed}}
        body = json.dumps(event)
        signature = stripe.WebhookSignature.generate_signature_header(body, SECRET, int(time.time()))
        gateway.deliver("/webhooks/stripe", body.encode(), {"stripe-signature": signature})
        expected = (100 * UNIT, 0, 0) if status in ("won", "lost") else (0, 0, 400 * UNIT)
        assert money(customer) == expected
    assert customer.get(payment_id).state == pb.Payment.SUCCEEDED
    assert fees(sql, payment_id) == [FEE]
    assert sound()


def test_concurrent_disputes_do_not_deadlock(customer, new_customer, sandboxes, gateway, sql, sound) -> None:
    sandboxes.behave(sandboxes.stripe, drop_webhooks=True)
    payers = [customer, new_customer()]
    payments = [(payer, payer.create().payment.id) for _ in range(8) for payer in payers]
    for _, payment_id in payments:
        sandboxes.stripe.post("/sandbox/pay", json={"payment_id": payment_id}).raise_for_status()
        body = {"payment_id": payment_id, "outcome": "lose", "amount": 100}
        sandboxes.stripe.post("/sandbox/dispute", json=body).raise_for_status()
    # Half of the payments are credited by the dispute's event.
    for payer, payment_id in payments[::2]:
        payer.confirm(payment_id)
    events = sandboxes.stripe.get("/v1/events", params={"limit": 100}).raise_for_status().json()["data"]
    bodies = [json.dumps(event) for event in events if event["type"].startswith("charge.dispute.")][: 3 * len(payments)]

    def deliver(body: str) -> None:
        signature = stripe.WebhookSignature.generate_signature_header(body, SECRET, int(time.time()))
        gateway.deliver("/webhooks/stripe", body.encode(), {"stripe-signature": signature})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(deliver, bodies))
    ids = [json.loads(body)["id"] for body in bodies]
    unbooked = "SELECT count(*) FROM webhook_events WHERE event_id = ANY(%s) AND booked_at IS NULL"
    assert sql.execute(unbooked, [ids]).fetchone() == (0,)
    for payer in payers:
        assert money(payer) == (8 * (PAID - UNIT), 0, 0)
    assert all(fees(sql, payment_id) == [FEE] for _, payment_id in payments)
    assert sound()


def test_statement_of_a_dispute_adds_up_to_the_balance(customer, pay, bank, hold) -> None:
    payment_id = pay()
    hold(400 * UNIT)
    bank(payment_id, "lose")
    eventually(lambda: money(customer) == (0, 0, 400 * UNIT))
    lines = customer.statement()
    assert {line.payment_id for line in lines if line.kind == pb.StatementLine.DISPUTE} == {payment_id}
    figures = [
        sum(getattr(line, f"{name}_delta_micros") for line in lines) for name in ("available", "reserved", "debt")
    ]
    assert tuple(figures) == money(customer)
