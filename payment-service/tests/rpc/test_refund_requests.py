"""Customers request refunds; staff list, refund and decline the requests."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.options.v1.options_pb2 import Permission
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import refund_requests_pb2 as requests_pb
from adplatform.payment.v1 import refund_requests_pb2_grpc, refunds_pb2, refunds_pb2_grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adtesting import eventually

PAID = 500_000_000
UNIT = 1_000_000
Request = requests_pb.RefundRequest


def info(call) -> ErrorInfo:
    with pytest.raises(grpc.RpcError) as refused:
        call()
    found = ErrorInfo()
    assert any(detail.Unpack(found) for detail in rpc_status.from_call(refused.value).details)
    return found


@dataclass
class Desk:
    """A caller's stubs for refunds and refund requests."""

    headers: list
    requests: refund_requests_pb2_grpc.RefundRequestServiceStub
    refunds: refunds_pb2_grpc.RefundServiceStub

    def request(self, payment_id: str, amount_micros: int | None = None, key: str = "", reason: str = "") -> Request:
        asked = requests_pb.RequestRefundRequest(payment_id=payment_id, amount_micros=amount_micros, reason=reason)
        metadata = [*self.headers, ("idempotency-key", key)] if key else self.headers
        return self.requests.RequestRefund(asked, metadata=metadata)

    def withdraw(self, request_id: str) -> Request:
        asked = requests_pb.WithdrawRefundRequestRequest(request_id=request_id)
        return self.requests.WithdrawRefundRequest(asked, metadata=self.headers)

    def decline(self, request_id: str, reason: str = "") -> Request:
        asked = requests_pb.DeclineRefundRequestRequest(request_id=request_id, reason=reason)
        return self.requests.DeclineRefundRequest(asked, metadata=self.headers)

    def open(self, **page: object) -> requests_pb.ListRefundRequestsResponse:
        return self.requests.ListRefundRequests(
            requests_pb.ListRefundRequestsRequest(**page), metadata=self.headers
        )  # fmt: skip

    def of(self, payment_id: str) -> list[Request]:
        asked = refunds_pb2.ListRefundsRequest(payment_id=payment_id)
        return list(self.refunds.ListRefunds(asked, metadata=self.headers).requests)

    def refund(self, payment_id: str, amount_micros: int | None = None) -> refunds_pb2.Refund:
        asked = refunds_pb2.RefundPaymentRequest(payment_id=payment_id, amount_micros=amount_micros)
        return self.refunds.RefundPayment(asked, metadata=self.headers)


@pytest.fixture
def desk(channel):
    def of(headers: list) -> Desk:
        return Desk(
            headers,
            refund_requests_pb2_grpc.RefundRequestServiceStub(channel),
            refunds_pb2_grpc.RefundServiceStub(channel),
        )

    return of


@pytest.fixture
def approver(desk, identities, access):
    def of(kind: int) -> Desk:
        person, organization_id = identities.person(), uuid4()
        access.grant(person, organization_id, kind, Permission.PAYMENTS_APPROVE)
        return desk(identities.headers(person, organization_id))

    return of


@pytest.fixture
def staff(approver) -> Desk:
    return approver(Organization.PLATFORM)


@pytest.fixture
def owner(desk, customer) -> Desk:
    return desk(customer.headers)


@pytest.fixture
def payment_id(customer, sandboxes, gateway) -> str:
    made = customer.create(PAID).payment.id
    sandboxes.pay(made)
    eventually(lambda: customer.get(made).state == pb.Payment.SUCCEEDED)
    return made


def test_staff_refund_a_customers_request(owner, staff, customer, payment_id, sound) -> None:
    request = owner.request(payment_id, reason="wrong currency")
    assert (request.state, request.amount_micros, request.currency_code) == (Request.REQUESTED, PAID, "USD")
    assert (request.organization_id, request.reason) == (str(customer.organization_id), "wrong currency")
    assert customer.figures() == (PAID, 0, 0), "nothing is set aside"
    assert request in staff.open(page_size=200).requests
    refund = staff.refund(payment_id)
    (answered,) = owner.of(payment_id)
    assert (answered.id, answered.state, answered.refund_id) == (request.id, Request.ACCEPTED, refund.id)
    assert request.id not in [one.id for one in staff.open(page_size=200).requests]
    assert customer.figures() == (0, 0, 0)
    assert info(lambda: owner.withdraw(request.id)).reason == "REFUND_REQUEST_CLOSED"
    assert info(lambda: staff.decline(request.id)).reason == "REFUND_REQUEST_CLOSED"
    assert info(lambda: owner.request(payment_id)).reason == "REFUND_TOO_LARGE"
    assert sound()


def test_payment_has_one_open_refund_request(owner, payment_id) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = {one.id for one in pool.map(lambda _: owner.request(payment_id, UNIT, key="k"), range(8))}
    assert len(made) == 1
    refused = info(lambda: owner.request(payment_id, UNIT))
    assert (refused.reason, refused.metadata["requestId"]) == ("REFUND_ALREADY_REQUESTED", *made)
    assert info(lambda: owner.request(payment_id, 2 * UNIT, key="k")).reason == "IDEMPOTENCY_KEY_REUSED"
    for _ in range(2):
        assert owner.withdraw(*made).state == Request.WITHDRAWN
    # The repeat returns the current state.
    assert owner.request(payment_id, UNIT, key="k").state == Request.WITHDRAWN
    again = owner.request(payment_id, 2 * UNIT)
    assert [one.id for one in owner.of(payment_id)] == [again.id, *made]


def test_concurrent_refund_requests_create_one(owner, payment_id) -> None:
    def ask(_: int) -> str:
        try:
            return owner.request(payment_id).id
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.FAILED_PRECONDITION  # noqa: PT017 - either is right
            return ""

    with ThreadPoolExecutor(4) as pool:
        assert len([one for one in pool.map(ask, range(6)) if one]) == 1


def test_refund_request_cannot_exceed_unspent_deposit(owner, customer, payment_id, ledger, identities, sound) -> None:
    campaign = {"organization_id": str(customer.organization_id), "campaign_id": str(uuid4()), "currency_code": "USD"}
    hold = pb.HoldBudgetRequest(**campaign, amount_micros=PAID - 7 * UNIT, idempotency_key=str(uuid4()))
    ledger.HoldBudget(hold, metadata=identities.service_headers("campaign-service"))
    refused = info(lambda: owner.request(payment_id, 8 * UNIT))
    assert (refused.reason, refused.metadata["refundableMicros"]) == ("REFUND_TOO_LARGE", str(7 * UNIT))
    assert info(lambda: owner.request(payment_id, 0)).reason == "AMOUNT_NOT_POSITIVE"
    assert info(lambda: owner.request(payment_id, UNIT + 1)).reason == "INVALID_FIELD"
    assert owner.request(payment_id).amount_micros == 7 * UNIT
    assert sound()


def test_unpaid_payment_has_no_refund_request(owner, customer, sandboxes, gateway) -> None:
    unpaid = customer.create(PAID).payment.id
    assert info(lambda: owner.request(unpaid)).reason == "PAYMENT_STATE_INVALID"
    assert info(lambda: owner.request(str(uuid4()))).reason == "PAYMENT_NOT_FOUND"


def test_declined_request_has_a_reason_and_allows_another(owner, staff, payment_id) -> None:
    request = owner.request(payment_id)
    for _ in range(2):
        assert staff.decline(request.id, "campaigns are running").state == Request.DECLINED
    (seen,) = owner.of(payment_id)
    assert (seen.state, seen.decline_reason) == (Request.DECLINED, "campaigns are running")
    assert info(lambda: owner.withdraw(request.id)).reason == "REFUND_REQUEST_CLOSED"
    assert owner.request(payment_id).state == Request.REQUESTED


def test_failed_refund_reopens_its_request(owner, staff, payment_id, sandboxes, customer, sound) -> None:
    request = owner.request(payment_id)
    refund = staff.refund(payment_id)
    assert owner.of(payment_id)[0].state == Request.ACCEPTED
    made = sandboxes.stripe.get("/v1/refunds", params={"limit": 100}).raise_for_status().json()["data"]
    (at_stripe,) = [one["id"] for one in made if one["metadata"].get("refund_id") == refund.id]
    sandboxes.stripe.post(f"/sandbox/refunds/{at_stripe}/fail").raise_for_status()
    eventually(lambda: owner.of(payment_id)[0].state == Request.REQUESTED)
    assert owner.of(payment_id)[0].refund_id == ""
    assert customer.figures() == (PAID, 0, 0)
    second = staff.refund(payment_id)
    assert [(one.id, one.refund_id) for one in owner.of(payment_id)] == [(request.id, second.id)]
    assert sound()


def test_refund_at_the_provider_dashboard_accepts_the_request(owner, payment_id, sandboxes, sound) -> None:
    owner.request(payment_id)
    sandboxes.stripe.post("/sandbox/refund", json={"payment_id": payment_id}).raise_for_status()
    eventually(lambda: owner.of(payment_id)[0].state == Request.ACCEPTED)
    assert sound()


@pytest.mark.parametrize("kind", [Organization.ADVERTISER, Organization.PUBLISHER], ids=["advertiser", "publisher"])
def test_only_staff_list_and_decline_refund_requests(owner, approver, payment_id, kind) -> None:
    request = owner.request(payment_id)
    stranger = approver(kind)
    assert not stranger.open().requests
    assert info(lambda: stranger.decline(request.id)).reason == "REFUND_REQUEST_NOT_FOUND"
    for call in (owner.open, lambda: owner.decline(request.id), lambda: stranger.request(payment_id)):
        assert info(call).reason == "PERMISSION_MISSING"


def test_refund_requests_of_another_organization_are_not_found(owner, desk, new_customer, payment_id) -> None:
    request, other = owner.request(payment_id), desk(new_customer().headers)
    assert info(lambda: other.request(payment_id)).reason == "PAYMENT_NOT_FOUND"
    assert info(lambda: other.withdraw(request.id)).reason == "REFUND_REQUEST_NOT_FOUND"
    assert owner.of(payment_id)[0].state == Request.REQUESTED


def test_open_requests_are_listed_newest_first_in_pages(owner, staff, customer, sandboxes, gateway) -> None:
    made = []
    for _ in range(3):
        one = customer.create(PAID).payment.id
        sandboxes.pay(one)
        eventually(lambda one=one: customer.get(one).state == pb.Payment.SUCCEEDED)
        made.append(owner.request(one, UNIT).id)
    first = staff.open(page_size=2)
    second = staff.open(page_size=1, page_token=first.next_page_token)
    assert [one.id for one in (*first.requests, *second.requests)] == made[::-1]
    assert all(UUID(one.id).version == 7 for one in first.requests)
