"""Payments, from the stub to Stripe and back by signed webhooks."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import grpc
import pytest
import redis
import stripe
from adplatform.events.v1.events_pb2 import Event
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adtesting import Identities, eventually
from payment_service.providers.stripe.client import TIMEOUT_S

# Every run of the job lists the missed events of Stripe and Wise.
SOURCES = 2
SECRET = "whsec_payment"
PAID = 500_000_000


def reason(error: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    found = ErrorInfo()
    assert any(detail.Unpack(found) for detail in rpc_status.from_call(error.value).details)
    return found.reason


def event_about(intent: dict[str, object], kind: str, **changes: object) -> bytes:
    event = {
        "id": f"evt_{uuid4().hex}",
        "object": "event",
        "type": kind,
        "created": int(time.time()),
        "data": {"object": {**intent, **changes}},
    }
    return json.dumps(event).encode()


def signed(body: bytes, secret: str = SECRET, age_s: int = 0) -> dict[str, str]:
    at = int(time.time()) - age_s
    return {"stripe-signature": stripe.WebhookSignature.generate_signature_header(body.decode(), secret, at)}


def intent_of(sandboxes, payment_id: str) -> dict[str, object]:
    (found,) = [one for one in sandboxes.intents() if one["metadata"].get("payment_id") == payment_id]
    return found


def test_paid_payment_is_credited_and_the_ledger_is_sound(customer, sandboxes, gateway, sound) -> None:
    created = customer.create()
    assert created.payment.state == pb.Payment.PENDING
    assert created.stripe.client_secret.startswith("pi_")
    assert customer.figures() == (0, 0, 0)
    sandboxes.pay(created.payment.id)
    eventually(lambda: customer.get(created.payment.id).state == pb.Payment.SUCCEEDED)
    assert customer.figures() == (PAID, 0, 0)
    assert sound()


def test_every_change_publishes_an_event(customer, sandboxes, gateway, service_redis_url) -> None:
    payment_id = customer.create().payment.id
    sandboxes.pay(payment_id)
    client = redis.Redis.from_url(service_redis_url)

    def states() -> list[int]:
        events = [Event.FromString(fields[b"m"]) for _, fields in client.xrange("bus:payment")]
        own = [
            event.payment_changed.payment for event in events if event.organization_id == str(customer.organization_id)
        ]
        return [payment.state for payment in own if payment.id == payment_id]

    assert eventually(lambda: states() if len(states()) == 2 else None) == [pb.Payment.PENDING, pb.Payment.SUCCEEDED]
    client.close()


def test_repeated_and_unordered_webhooks_credit_once(customer, sandboxes, gateway, sound) -> None:
    gateway.open = False
    payment_id = customer.create().payment.id
    sandboxes.pay(payment_id, "decline")
    sandboxes.pay(payment_id)
    eventually(lambda: len([one for one in gateway.received if payment_id.encode() in one[1]]) == 3)
    created, declined, paid = [one for one in gateway.received if payment_id.encode() in one[1]]
    for one in (paid, declined, created, paid, declined):
        gateway.deliver(*one)
        assert customer.get(payment_id).state == pb.Payment.SUCCEEDED
    assert customer.figures() == (PAID, 0, 0)
    assert sound()


def test_second_event_of_a_paid_intent_credits_nothing(customer, sandboxes, gateway) -> None:
    payment_id = customer.create().payment.id
    intent = intent_of(sandboxes, payment_id)
    for _ in range(3):
        body = event_about(intent, "payment_intent.succeeded", status="succeeded", amount_received=50_000)
        gateway.deliver("/webhooks/stripe", body, signed(body))
    assert customer.figures() == (PAID, 0, 0)


def test_concurrent_deliveries_of_one_event_credit_once(customer, sandboxes, gateway) -> None:
    payment_id = customer.create().payment.id
    body = event_about(
        intent_of(sandboxes, payment_id), "payment_intent.succeeded", status="succeeded", amount_received=50_000
    )
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: gateway.deliver("/webhooks/stripe", body, signed(body)), range(16)))
    assert customer.figures() == (PAID, 0, 0)


def test_declined_payment_has_a_reason_and_can_still_be_paid(customer, sandboxes, gateway) -> None:
    payment_id = customer.create().payment.id
    sandboxes.pay(payment_id, "decline")
    failed = eventually(lambda: one if (one := customer.get(payment_id)).state == pb.Payment.FAILED else None)
    assert failed.failure_message == "Your card was declined."
    sandboxes.pay(payment_id)
    paid = eventually(lambda: one if (one := customer.get(payment_id)).state == pb.Payment.SUCCEEDED else None)
    assert paid.failure_message == ""
    assert customer.figures() == (PAID, 0, 0)


@pytest.mark.parametrize("how", ["unsigned", "forged", "stale", "of another body", "nonsense"])
def test_webhook_with_invalid_signature_is_refused(customer, sandboxes, gateway, sql, how: str) -> None:
    payment_id = customer.create().payment.id
    body = event_about(
        intent_of(sandboxes, payment_id), "payment_intent.succeeded", status="succeeded", amount_received=50_000
    )
    headers = {
        "unsigned": {},
        "forged": signed(body, "whsec_other"),
        "stale": signed(body, age_s=301),
        "of another body": signed(body + b" "),
        "nonsense": {"stripe-signature": "t=,v1="},
    }[how]
    with pytest.raises(grpc.RpcError) as refused:
        gateway.deliver("/webhooks/stripe", body, headers)
    assert (refused.value.code(), reason(refused)) == (grpc.StatusCode.INVALID_ARGUMENT, "SIGNATURE_INVALID")
    assert customer.figures() == (0, 0, 0)
    assert sql.execute("SELECT count(*) FROM webhook_events WHERE payload = %s", [body]).fetchone() == (0,)


def test_different_amount_is_credited_and_sets_the_outcome(customer, sandboxes, gateway) -> None:
    payment_id = customer.create().payment.id
    body = event_about(
        intent_of(sandboxes, payment_id), "payment_intent.succeeded", status="succeeded", amount_received=49_999
    )
    gateway.deliver("/webhooks/stripe", body, signed(body))
    paid = customer.get(payment_id)
    assert (paid.state, paid.outcome, paid.paid_micros) == (pb.Payment.SUCCEEDED, pb.Payment.UNDERPAID, 499_990_000)
    assert customer.figures() == (499_990_000, 0, 0)


def test_deposit_in_another_currency_waits_for_staff(customer, sandboxes, gateway, sql, sound) -> None:
    payment_id = customer.create().payment.id
    body = event_about(
        intent_of(sandboxes, payment_id),
        "payment_intent.succeeded",
        status="succeeded",
        amount_received=7,
        currency="eur",
    )
    for _ in range(2):
        gateway.deliver("/webhooks/stripe", body, signed(body))
    assert customer.figures() == (0, 0, 0)
    assert sql.execute(
        "SELECT state, amount_micros, currency_code FROM deposits ORDER BY id DESC LIMIT 1"
    ).fetchone() == ("UNMATCHED", 70_000, "EUR")
    assert sound()


def test_payment_shows_instructions_and_deposits(customer, sandboxes, gateway) -> None:
    created = customer.create()
    shown = customer.get(created.payment.id)
    assert shown.stripe == created.stripe
    assert not shown.deposits
    sandboxes.pay(created.payment.id)
    paid = eventually(lambda: one if (one := customer.get(created.payment.id)).paid_micros else None)
    assert not paid.HasField("stripe")
    assert [(one.state, one.amount_micros, one.payment_id) for one in paid.deposits] == [
        (pb.Deposit.CREDITED, PAID, created.payment.id)
    ]


def test_irrelevant_events_are_stored_and_acknowledged(customer, sandboxes, gateway, sql) -> None:
    payment_id = customer.create().payment.id
    paid = {**intent_of(sandboxes, payment_id), "status": "succeeded", "amount_received": 50_000}
    bodies = [
        event_about(paid, "payment_intent.succeeded", metadata={"payment_id": str(uuid4())}),
        event_about(paid, "payment_intent.succeeded", metadata={}),
        event_about(paid, "payment_intent.succeeded", id="pi_of_somebody_else"),
        event_about(paid, "charge.succeeded"),
        event_about({}, "payment_intent.succeeded"),
    ]
    for body in bodies:
        gateway.deliver("/webhooks/stripe", body, signed(body))
        assert sql.execute("SELECT count(*) FROM webhook_events WHERE payload = %s", [body]).fetchone() == (1,)
    assert customer.get(payment_id).state == pb.Payment.PENDING
    assert customer.figures() == (0, 0, 0)


def test_missed_webhook_is_recovered_by_confirmation_or_the_job(customer, sandboxes, gateway, settle) -> None:
    gateway.open = False
    first, second = (customer.create().payment.id for _ in range(2))
    for payment_id in (first, second):
        assert customer.confirm(payment_id).state == pb.Payment.PENDING
        sandboxes.pay(payment_id)
    assert customer.confirm(first).state == pb.Payment.SUCCEEDED
    assert customer.confirm(first).state == pb.Payment.SUCCEEDED
    result = settle()
    assert (result.success, result.stats.total) == (True, 1 + SOURCES)
    assert customer.get(second).state == pb.Payment.SUCCEEDED
    assert customer.figures() == (2 * PAID, 0, 0)
    assert settle().stats.total == SOURCES


def test_unpaid_payment_expires_after_a_day(customer, sandboxes, gateway, settle, sql) -> None:
    payment_id = customer.create().payment.id
    sql.execute("UPDATE payments SET created_at = created_at - interval '25 hours'")
    assert settle().success
    assert customer.get(payment_id).state == pb.Payment.EXPIRED
    assert intent_of(sandboxes, payment_id)["status"] == "canceled"


def test_payment_unknown_to_its_provider_expires(customer, sandboxes, gateway, settle, sql) -> None:
    payment_id = customer.create().payment.id
    sql.execute("UPDATE payments SET created_at = created_at - interval '25 hours' WHERE id = %s", [payment_id])
    sql.execute("UPDATE payments SET external_id = 'pi_of_nobody' WHERE id = %s", [payment_id])
    assert settle().success
    assert customer.get(payment_id).state == pb.Payment.EXPIRED


def test_repeat_with_the_same_key_returns_the_payment(customer, new_customer, sandboxes, gateway) -> None:
    first = customer.create(key="k")
    again = customer.create(key="k")
    assert (again.payment.id, again.stripe.client_secret) == (first.payment.id, first.stripe.client_secret)
    with pytest.raises(grpc.RpcError) as refused:
        customer.create(1_000_000, key="k")
    assert reason(refused) == "IDEMPOTENCY_KEY_REUSED"
    assert new_customer().create(key="k").payment.id != first.payment.id
    assert customer.create().payment.id != customer.create().payment.id


def test_concurrent_requests_with_one_key_create_one_payment(customer, sandboxes, gateway) -> None:
    with ThreadPoolExecutor(6) as pool:
        made = {created.payment.id for created in pool.map(lambda _: customer.create(key="k"), range(6))}
    assert len(made) == 1
    assert intent_of(sandboxes, made.pop())["amount"] == 50_000


@pytest.mark.parametrize("lose_answers", [False, True])
def test_payment_is_opened_once_the_provider_responds(customer, sandboxes, gateway, lose_answers: bool) -> None:
    gateway.open = False
    sandboxes.behave(sandboxes.stripe, fail_next=2, lose_answers=lose_answers)
    waiting = customer.create(key="k")
    assert (waiting.payment.state, waiting.HasField("stripe")) == (pb.Payment.PENDING, False)
    assert "does not answer" in waiting.payment.pending_reason
    opened = eventually(lambda: one if (one := customer.get(waiting.payment.id)).HasField("stripe") else None)
    assert opened.pending_reason == ""
    # One intent, whether the first calls reached Stripe or not.
    assert intent_of(sandboxes, waiting.payment.id)["client_secret"] == opened.stripe.client_secret
    assert customer.create(key="k").stripe == opened.stripe


def test_no_response_on_confirmation_is_reported_and_not_stored(customer, sandboxes, gateway) -> None:
    payment_id = customer.create().payment.id
    sandboxes.behave(sandboxes.stripe, fail_next=1)
    assert "does not answer" in customer.confirm(payment_id).pending_reason
    assert customer.get(payment_id).pending_reason == ""


def test_job_opens_payments_left_unopened_by_a_crash(customer, sandboxes, gateway, settle, sql) -> None:
    payment_id = customer.create().payment.id
    # The state after a crash before Stripe's response.
    sql.execute("UPDATE payments SET external_id = NULL, instructions = '{}' WHERE id = %s", [payment_id])
    assert settle().success
    assert customer.get(payment_id).stripe.client_secret == intent_of(sandboxes, payment_id)["client_secret"]


def test_payment_that_was_never_opened_expires(customer, sandboxes, gateway, settle, sql) -> None:
    sandboxes.behave(sandboxes.stripe, fail_rate=1)
    payment_id = customer.create().payment.id
    sql.execute("UPDATE payments SET created_at = created_at - interval '25 hours' WHERE id = %s", [payment_id])
    settle()
    assert customer.get(payment_id).state == pb.Payment.EXPIRED


def test_repeat_does_not_open_an_expired_payment(customer, sandboxes, gateway, settle, sql) -> None:
    sandboxes.behave(sandboxes.stripe, fail_next=1_000)
    payment_id = customer.create(key="k").payment.id
    sql.execute("UPDATE payments SET created_at = created_at - interval '25 hours' WHERE id = %s", [payment_id])
    settle()
    assert customer.get(payment_id).state == pb.Payment.EXPIRED
    sandboxes.behave(sandboxes.stripe, fail_next=0)
    again = customer.create(key="k")
    assert (again.payment.id, again.payment.state) == (payment_id, pb.Payment.EXPIRED)
    assert not again.HasField("stripe")


def test_payment_rejected_by_its_provider_fails_permanently(customer, sandboxes, gateway) -> None:
    for _ in range(2):
        with pytest.raises(grpc.RpcError) as refused:
            customer.create(1_000_000, key="k", currency_code="JPY")
        assert reason(refused) == "PROVIDER_REJECTED"
        assert "at least" in (refused.value.details() or "")
    (failed,) = customer.payments.ListPayments(pb.ListPaymentsRequest(), metadata=customer.headers).payments
    assert failed.state == pb.Payment.FAILED


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"provider": pb.CRYPTO}, "PROVIDER_NOT_AVAILABLE"),
        ({"provider": pb.WISE, "currency_code": "JPY"}, "CURRENCY_UNSUPPORTED"),
        ({"currency_code": "XXX"}, "CURRENCY_UNSUPPORTED"),
        ({"currency_code": "usd"}, "INVALID_FIELD"),
        ({"amount_micros": 999_999}, "AMOUNT_TOO_SMALL"),
        ({"amount_micros": 0}, "AMOUNT_NOT_POSITIVE"),
        ({"amount_micros": -5_000_000}, "AMOUNT_NOT_POSITIVE"),
        ({"amount_micros": 1_000_001}, "INVALID_FIELD"),
        ({"amount_micros": 1_000_000_000_001}, "AMOUNT_TOO_LARGE"),
        ({"crypto": pb.CryptoChoice(token="USDC")}, "INVALID_FIELD"),
        ({"provider": 0}, "INVALID_FIELD"),
        ({"key": "k" * 256}, "IDEMPOTENCY_KEY_INVALID"),
    ],
)
def test_invalid_request_stores_no_payment(customer, sandboxes, gateway, changes, expected) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        customer.create(**changes)
    assert (refused.value.code(), reason(refused)) == (grpc.StatusCode.INVALID_ARGUMENT, expected)
    assert not customer.payments.ListPayments(pb.ListPaymentsRequest(), metadata=customer.headers).payments


def test_payment_of_another_organization_is_not_found(customer, new_customer, sandboxes, gateway) -> None:
    payment_id = customer.create().payment.id
    stranger = new_customer()
    for ask in (stranger.get, stranger.confirm):
        with pytest.raises(grpc.RpcError) as refused:
            ask(payment_id)
        assert reason(refused) == "PAYMENT_NOT_FOUND"
    assert not stranger.payments.ListPayments(pb.ListPaymentsRequest(), metadata=stranger.headers).payments


def test_payments_are_listed_newest_first_in_pages(customer, sandboxes, gateway) -> None:
    made = [customer.create().payment.id for _ in range(3)]
    first = customer.payments.ListPayments(pb.ListPaymentsRequest(page_size=2), metadata=customer.headers)
    rest = customer.payments.ListPayments(
        pb.ListPaymentsRequest(page_size=2, page_token=first.next_page_token), metadata=customer.headers
    )
    assert [one.id for one in (*first.payments, *rest.payments)] == made[::-1]
    assert rest.next_page_token == ""
    assert [UUID(one.id).version for one in first.payments] == [7, 7]


def test_job_and_ledger_are_for_services_only(customer, channel, identities: Identities) -> None:
    jobs = payment_pb2_grpc.PaymentJobsServiceStub(channel)
    with pytest.raises(grpc.RpcError) as refused:
        jobs.SettlePayments(pb.SettlePaymentsRequest(), metadata=customer.headers)
    assert reason(refused) == "SERVICE_NOT_ALLOWED"
    ledger = payment_pb2_grpc.LedgerServiceStub(channel)
    with pytest.raises(grpc.RpcError) as refused:
        ledger.VerifyLedger(pb.VerifyLedgerRequest(), metadata=identities.service_headers("campaign-service"))
    assert reason(refused) == "SERVICE_NOT_ALLOWED"


def test_slow_provider_delays_a_call_at_most_ten_seconds() -> None:
    assert sum(TIMEOUT_S) <= 8
