"""Refunds, from the stub to Stripe and back by webhooks."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID, uuid4

import grpc
import pytest
import redis
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.events.v1.events_pb2 import Event
from adplatform.options.v1.options_pb2 import Permission
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import refunds_pb2, refunds_pb2_grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adlib.clock import SystemClock
from adlib.errors import Unavailable
from adlib.ids import new_id
from adlib.outbox import Outbox
from adtesting import eventually
from payment_service.features import RefundFeatures
from payment_service.payments import store
from payment_service.payments.service import PaymentRecords
from payment_service.providers.model import RefundOrder
from payment_service.providers.service import Providers
from payment_service.providers.stripe.client import TIMEOUT_S, StripeApi
from payment_service.providers.stripe.refunds import StripeRefunds

PAID = 500_000_000
UNIT = 1_000_000


def info(error: pytest.ExceptionInfo[grpc.RpcError]) -> ErrorInfo:
    found = ErrorInfo()
    assert any(detail.Unpack(found) for detail in rpc_status.from_call(error.value).details)
    return found


@dataclass
class Desk:
    """Staff with PAYMENTS_APPROVE, and their calls to the service."""

    headers: list[tuple[str, str]]
    stub: refunds_pb2_grpc.RefundServiceStub

    def refund(
        self, payment_id: str, amount_micros: int | None = None, key: str = "", **more: str
    ) -> refunds_pb2.Refund:
        request = refunds_pb2.RefundPaymentRequest(payment_id=payment_id, amount_micros=amount_micros, **more)
        metadata = [*self.headers, ("idempotency-key", key)] if key else self.headers
        return self.stub.RefundPayment(request, metadata=metadata)

    def refused(self, payment_id: str, *arguments: object, **more: str) -> ErrorInfo:
        with pytest.raises(grpc.RpcError) as refusal:
            self.refund(payment_id, *arguments, **more)
        return info(refusal)


@pytest.fixture
def desk(channel, identities, access):
    def of(kind: int, organization_id: UUID | None = None) -> Desk:
        person, organization_id = identities.person(), organization_id or uuid4()
        access.grant(person, organization_id, kind, Permission.PAYMENTS_APPROVE)
        return Desk(identities.headers(person, organization_id), refunds_pb2_grpc.RefundServiceStub(channel))

    return of


@pytest.fixture
def staff(desk) -> Desk:
    return desk(Organization.PLATFORM)


@pytest.fixture
def refunds_of(channel):
    stub = refunds_pb2_grpc.RefundServiceStub(channel)

    def read(customer, payment_id: str, **page: object) -> refunds_pb2.ListRefundsResponse:
        request = refunds_pb2.ListRefundsRequest(payment_id=payment_id, **page)
        return stub.ListRefunds(request, metadata=customer.headers)

    return read


@pytest.fixture
def paid(sandboxes, gateway):
    """A payment that its customer has paid."""

    def make(customer, amount_micros: int = PAID, card: str = "pm_card_visa") -> str:
        payment_id = customer.create(amount_micros).payment.id
        body = {"payment_id": payment_id, "card": card}
        sandboxes.stripe.post("/sandbox/pay", json=body).raise_for_status()
        eventually(lambda: customer.get(payment_id).state == pb.Payment.SUCCEEDED)
        return payment_id

    return make


def money(customer) -> tuple[int, int, int]:
    balance = customer.balance()
    return balance.available_micros, balance.reserved_micros, balance.debt_micros


def at_stripe(sandboxes, payment_id: str) -> list[dict[str, object]]:
    intent = next(one for one in sandboxes.intents() if one["metadata"].get("payment_id") == payment_id)
    answer = sandboxes.stripe.get("/v1/refunds", params={"payment_intent": intent["id"], "limit": 100})
    return list(answer.raise_for_status().json()["data"])


def test_refund_leaves_the_wallet_and_updates_the_payment(customer, staff, paid, refunds_of, sandboxes, sound) -> None:
    payment_id = paid(customer)
    part = staff.refund(payment_id, 200 * UNIT, currency_code="USD", reason="as agreed")
    assert (part.state, part.amount_micros, part.reason) == (refunds_pb2.Refund.SUCCEEDED, 200 * UNIT, "as agreed")
    payment = customer.get(payment_id)
    assert (payment.state, payment.refunded_micros) == (pb.Payment.SUCCEEDED, 200 * UNIT)
    assert money(customer) == (300 * UNIT, 0, 0)
    rest = staff.refund(payment_id)
    assert rest.amount_micros == 300 * UNIT
    assert customer.get(payment_id).state == pb.Payment.REFUNDED
    assert money(customer) == (0, 0, 0)
    assert [one["amount"] for one in at_stripe(sandboxes, payment_id)] == [30_000, 20_000]
    first = refunds_of(customer, payment_id, page_size=1)
    second = refunds_of(customer, payment_id, page_size=1, page_token=first.next_page_token)
    assert [one.id for one in (*first.refunds, *second.refunds)] == [rest.id, part.id]
    assert second.next_page_token == ""
    assert sound()


def test_refund_cannot_exceed_the_rest_of_the_payment(customer, staff, paid) -> None:
    payment_id, _ = paid(customer), paid(customer)
    staff.refund(payment_id, 450 * UNIT)
    refusal = staff.refused(payment_id, 51 * UNIT)
    assert (refusal.reason, refusal.metadata["refundableMicros"]) == ("REFUND_TOO_LARGE", str(50 * UNIT))
    staff.refund(payment_id, 50 * UNIT)
    for amount_micros in (None, UNIT):
        refusal = staff.refused(payment_id, amount_micros)
        assert (refusal.reason, refusal.metadata["refundableMicros"]) == ("REFUND_TOO_LARGE", "0")
    assert money(customer) == (PAID, 0, 0)


def test_refund_cannot_exceed_unspent_deposit(customer, staff, paid, ledger, identities) -> None:
    payment_id = paid(customer)
    hold = pb.HoldBudgetRequest(
        organization_id=str(customer.organization_id), campaign_id=str(uuid4()), amount_micros=400 * UNIT,
        currency_code="USD", idempotency_key="k",
    )  # fmt: skip
    ledger.HoldBudget(hold, metadata=identities.service_headers("campaign-service"))
    for amount_micros in (None, 101 * UNIT):
        refusal = staff.refused(payment_id, amount_micros)
        assert (refusal.reason, refusal.metadata["refundableMicros"]) == ("REFUND_TOO_LARGE", str(100 * UNIT))
    assert staff.refund(payment_id, 100 * UNIT).state == refunds_pb2.Refund.SUCCEEDED


@pytest.mark.parametrize(
    ("amount_micros", "more", "expected"),
    [
        (0, {}, "AMOUNT_NOT_POSITIVE"),
        (-UNIT, {}, "AMOUNT_NOT_POSITIVE"),
        (UNIT, {"currency_code": "EUR"}, "CURRENCY_MISMATCH"),
        (UNIT + 1, {}, "INVALID_FIELD"),
        (2**63 - 1, {}, "REFUND_TOO_LARGE"),
    ],
)
def test_invalid_refund_moves_nothing(
    customer, staff, paid, sandboxes, refunds_of, amount_micros: int, more, expected: str
) -> None:
    payment_id = paid(customer)
    assert staff.refused(payment_id, amount_micros, **more).reason == expected
    assert money(customer) == (PAID, 0, 0)
    assert customer.get(payment_id).refunded_micros == 0
    assert not refunds_of(customer, payment_id).refunds
    assert not at_stripe(sandboxes, payment_id)


def test_unpaid_payment_cannot_be_refunded(customer, staff, gateway) -> None:
    payment_id = customer.create().payment.id
    assert staff.refused(payment_id, UNIT).reason == "PAYMENT_STATE_INVALID"
    assert staff.refused(str(uuid4()), UNIT).reason == "PAYMENT_NOT_FOUND"


def test_only_staff_refund_payments_of_other_organizations(customer, new_customer, desk, paid, refunds_of) -> None:
    payment_id = paid(customer)
    stranger = desk(Organization.ADVERTISER)
    assert stranger.refused(payment_id, UNIT).reason == "PAYMENT_NOT_FOUND"
    assert Desk(customer.headers, stranger.stub).refused(payment_id, UNIT).reason == "PERMISSION_MISSING"
    assert money(customer) == (PAID, 0, 0)
    with pytest.raises(grpc.RpcError) as refused:
        refunds_of(new_customer(), payment_id)
    assert info(refused).reason == "PAYMENT_NOT_FOUND"


def test_refund_is_in_the_audit_trail_of_the_payments_organization(
    customer, staff, paid, sandboxes, service_redis_url
) -> None:
    refund = staff.refund(paid(customer), UNIT)
    with redis.Redis.from_url(service_redis_url) as client:

        def recorded() -> list[str]:
            events = [Event.FromString(fields[b"m"]) for _, fields in client.xrange("bus:audit")]
            return [
                one.organization_id
                for one in events
                if refund.payment_id in one.audit_recorded.resource
                and one.audit_recorded.action == "payment.RefundPayment"
            ]

        assert eventually(recorded) == [str(customer.organization_id)]


def test_repeat_with_the_same_key_returns_the_refund(customer, staff, paid, sandboxes) -> None:
    payment_id = paid(customer)
    first = staff.refund(payment_id, UNIT, key="k")
    assert staff.refund(payment_id, UNIT, key="k") == first
    assert staff.refused(payment_id, 2 * UNIT, key="k").reason == "IDEMPOTENCY_KEY_REUSED"
    assert staff.refund(payment_id, UNIT, key="l").id != first.id
    assert len(at_stripe(sandboxes, payment_id)) == 2


def test_concurrent_requests_with_one_key_create_one_refund(customer, staff, paid, sandboxes) -> None:
    payment_id = paid(customer)
    with ThreadPoolExecutor(6) as pool:
        made = {one.id for one in pool.map(lambda _: staff.refund(payment_id, UNIT, key="k"), range(6))}
    assert len(made) == len(at_stripe(sandboxes, payment_id)) == 1


def test_concurrent_refunds_cannot_exceed_the_payment(customer, desk, paid, sandboxes, sound) -> None:
    payment_id, _ = paid(customer), paid(customer)

    def ask(member: Desk) -> int:
        try:
            return member.refund(payment_id, 200 * UNIT).amount_micros
        except grpc.RpcError:
            return 0

    with ThreadPoolExecutor(6) as pool:
        given_micros = sum(pool.map(ask, [desk(Organization.PLATFORM) for _ in range(6)]))
    assert given_micros == 400 * UNIT
    assert sum(one["amount"] for one in at_stripe(sandboxes, payment_id)) == 40_000
    eventually(lambda: money(customer) == (600 * UNIT, 0, 0))
    assert sound()


@pytest.mark.parametrize("lose_answers", [False, True])
def test_refund_without_response_is_sent_later_and_once(
    customer, staff, paid, sandboxes, gateway, sql, lose_answers: bool
) -> None:
    payment_id = paid(customer)
    gateway.open = False
    sandboxes.behave(sandboxes.stripe, fail_next=1, lose_answers=lose_answers)
    waiting = staff.refund(payment_id, 200 * UNIT, key="k")
    assert waiting.state == refunds_pb2.Refund.PENDING
    assert "does not answer" in waiting.pending_reason
    assert money(customer) == (300 * UNIT, 200 * UNIT, 0)
    assert customer.get(payment_id).refunded_micros == 200 * UNIT
    # As if the delay had passed.
    due = "UPDATE procrastinate_jobs SET scheduled_at = now() WHERE args ->> 'subject' = %s"
    assert sql.execute(due, [waiting.id]).rowcount == 1
    eventually(lambda: money(customer) == (300 * UNIT, 0, 0))
    sent = staff.refund(payment_id, 200 * UNIT, key="k")
    assert (sent.id, sent.state, sent.pending_reason) == (waiting.id, refunds_pb2.Refund.SUCCEEDED, "")
    assert len(at_stripe(sandboxes, payment_id)) == 1


def test_slow_refund_call_times_out_and_is_repeated_with_the_same_key(
    customer, staff, paid, sandboxes, gateway, config, db
) -> None:
    assert sum(TIMEOUT_S) <= 8
    settings, payment_id = config.providers.by_name["STRIPE"], paid(customer)
    gateway.open = False
    payment = store.get_any_tenant(db, UUID(payment_id))
    api = StripeApi(settings.api_key, settings.api_base, SystemClock(), timeout_s=(0.2, 0.2))
    impatient = StripeRefunds(api, SystemClock())
    order = RefundOrder(new_id(), UNIT, "")
    sandboxes.behave(sandboxes.stripe, delay_ms=1_000)
    with pytest.raises(Unavailable):
        impatient.refund(payment, order)
    sandboxes.behave(sandboxes.stripe, delay_ms=0)
    # The first one arrives late: the same key makes it the same refund.
    first = settings.provider(db, SystemClock()).refunds.refund(payment, order)
    eventually(lambda: len(at_stripe(sandboxes, payment_id)) == 1)
    assert settings.provider(db, SystemClock()).refunds.refund(payment, order) == first


def test_repeat_resumes_a_refund_left_unsent_by_a_crash(customer, staff, paid, sandboxes, gateway) -> None:
    payment_id = paid(customer)
    gateway.open = False
    sandboxes.behave(sandboxes.stripe, fail_next=1)
    waiting = staff.refund(payment_id, UNIT, key="k")
    again = staff.refund(payment_id, UNIT, key="k")
    assert (again.id, again.state) == (waiting.id, refunds_pb2.Refund.SUCCEEDED)
    assert len(at_stripe(sandboxes, payment_id)) == 1


def test_job_sends_refunds_abandoned_by_the_queue(customer, staff, paid, sandboxes, gateway, settle, sql) -> None:
    payment_id = paid(customer)
    sandboxes.behave(sandboxes.stripe, fail_next=1)
    waiting = staff.refund(payment_id, UNIT)
    sql.execute("DELETE FROM procrastinate_jobs WHERE args ->> 'subject' = %s", [waiting.id])
    settle()
    assert not at_stripe(sandboxes, payment_id)
    sql.execute("UPDATE refunds SET updated_at = updated_at - interval '4 days' WHERE id = %s", [waiting.id])
    settle()
    assert len(at_stripe(sandboxes, payment_id)) == 1
    assert money(customer) == (PAID - UNIT, 0, 0)


def test_rejected_refund_is_restored_and_its_repeat_is_refused(
    customer, staff, paid, sandboxes, gateway, refunds_of, sound
) -> None:
    payment_id = paid(customer)
    gateway.open = False
    sandboxes.stripe.post("/sandbox/dispute", json={"payment_id": payment_id, "amount": 100}).raise_for_status()
    for _ in range(2):
        assert staff.refused(payment_id, UNIT, key="k").reason == "PROVIDER_REJECTED"
    (failed,) = refunds_of(customer, payment_id).refunds
    assert failed.state == refunds_pb2.Refund.FAILED
    assert "charged back" in failed.failure_message
    assert money(customer) == (PAID, 0, 0)
    assert customer.get(payment_id).refunded_micros == 0
    assert sound()


@pytest.mark.parametrize("outcomes", [("succeed",), ("fail",), ("succeed", "fail")])
def test_pending_refund_ends_as_reported_by_the_customers_bank(
    customer, staff, paid, sandboxes, refunds_of, sound, outcomes: tuple[str, ...]
) -> None:
    payment_id = paid(customer, card="pm_card_pendingRefund")
    refund = staff.refund(payment_id)
    assert refund.state == refunds_pb2.Refund.PENDING
    assert "has not finished it" in refund.pending_reason
    assert money(customer) == (0, PAID, 0)
    (known,) = at_stripe(sandboxes, payment_id)
    for outcome in outcomes:
        sandboxes.stripe.post(f"/sandbox/refunds/{known['id']}/{outcome}").raise_for_status()
    is_back = outcomes[-1] == "fail"
    expected = refunds_pb2.Refund.FAILED if is_back else refunds_pb2.Refund.SUCCEEDED
    ended = eventually(lambda: one if (one := refunds_of(customer, payment_id).refunds[0]).state == expected else None)
    assert ended.failure_message == ("declined" if is_back else "")
    assert money(customer) == (PAID if is_back else 0, 0, 0)
    payment = customer.get(payment_id)
    assert payment.state == (pb.Payment.SUCCEEDED if is_back else pb.Payment.REFUNDED)
    assert payment.refunded_micros == (0 if is_back else PAID)
    assert sound()


def test_dashboard_refund_of_spent_money_becomes_debt(
    customer, paid, sandboxes, ledger, identities, refunds_of, sound
) -> None:
    payment_id = paid(customer)
    hold = pb.HoldBudgetRequest(
        organization_id=str(customer.organization_id), campaign_id=str(uuid4()), amount_micros=400 * UNIT,
        currency_code="USD", idempotency_key="k",
    )  # fmt: skip
    ledger.HoldBudget(hold, metadata=identities.service_headers("campaign-service"))
    made = sandboxes.stripe.post("/sandbox/refund", json={"payment_id": payment_id}).raise_for_status().json()
    eventually(lambda: customer.get(payment_id).state == pb.Payment.REFUNDED)
    assert money(customer) == (0, 0, 400 * UNIT)
    (refund,) = refunds_of(customer, payment_id).refunds
    assert (refund.state, refund.amount_micros) == (refunds_pb2.Refund.SUCCEEDED, PAID)
    # The returned refund pays the debt first.
    sandboxes.stripe.post(f"/sandbox/refunds/{made['id']}/fail").raise_for_status()
    eventually(lambda: customer.get(payment_id).state == pb.Payment.SUCCEEDED)
    assert money(customer) == (100 * UNIT, 0, 0)
    assert sound()


def test_refund_whose_key_may_have_expired_is_searched_before_it_is_sent(
    customer, staff, paid, sandboxes, gateway, config, db, sql
) -> None:
    payment_id = paid(customer)
    gateway.open = False
    sandboxes.behave(sandboxes.stripe, fail_next=1, lose_answers=True)
    waiting = staff.refund(payment_id, UNIT)

    class Tomorrow:
        def now(self):
            (at,) = sql.execute("SELECT now() + interval '25 hours'").fetchone()
            return at

    provider = config.providers.by_name["STRIPE"].provider(db, Tomorrow())
    asked = []

    class Watched:
        def refund(self, payment, order):
            asked.append(order.refund_id)
            return provider.refunds.refund(payment, order)

    records = PaymentRecords(Outbox("payment", Tomorrow()))
    features = RefundFeatures.build(db, records, Providers({}, {"STRIPE": Watched()}), Tomorrow(), new_id)
    features.sender.send(UUID(waiting.id))
    assert asked == [UUID(waiting.id)]
    assert len(at_stripe(sandboxes, payment_id)) == 1
    assert money(customer) == (PAID - UNIT, 0, 0)
