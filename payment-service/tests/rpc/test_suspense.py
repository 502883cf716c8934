"""Unmatched deposits, until staff assign them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import uuid4

import grpc
import pytest
import redis
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.events.v1.events_pb2 import Event
from adplatform.options.v1.options_pb2 import Permission
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import suspense_pb2, suspense_pb2_grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adtesting import eventually

ASKED = 500_000_000


def reason(error):
    found = ErrorInfo()
    assert any(detail.Unpack(found) for detail in rpc_status.from_call(error.value).details)
    return found.reason


@dataclass
class Desk:
    """Staff with PAYMENTS_APPROVE, and their calls to the service."""

    headers: list
    stub: suspense_pb2_grpc.SuspenseServiceStub

    def page(self, token="", size=0):
        request = suspense_pb2.ListUnmatchedDepositsRequest(page_token=token, page_size=size)
        return self.stub.ListUnmatchedDeposits(request, metadata=self.headers)

    def named(self, text):
        return [one for one in self.page(size=200).deposits if one.remittance_text == text]

    def assign(self, deposit_id, payment_id):
        request = suspense_pb2.AssignDepositRequest(deposit_id=deposit_id, payment_id=payment_id)
        return self.stub.AssignDeposit(request, metadata=self.headers)


@pytest.fixture
def desk(channel, identities, access):
    def of(kind):
        person, organization_id = identities.person(), uuid4()
        access.grant(person, organization_id, kind, Permission.PAYMENTS_APPROVE)
        return Desk(identities.headers(person, organization_id), suspense_pb2_grpc.SuspenseServiceStub(channel))

    return of


@pytest.fixture
def staff(desk):
    return desk(Organization.PLATFORM)


@pytest.fixture
def arrive(sandboxes, gateway, staff):
    """Sends a bank transfer without a reference; returns the deposit as staff see it, and its number at Wise."""

    def send(amount=500, currency="USD"):
        text = f"for ads {uuid4()} ä漢"
        body = {"currency": currency, "amount": amount, "reference": f"{text}\0", "sender_name": "Ada Zone"}
        number = sandboxes.wise.post("/sandbox/incoming", json=body).raise_for_status().json()["referenceNumber"]
        eventually(lambda: staff.named(text))
        (deposit,) = staff.named(text)
        return deposit, number

    return send


def test_unmatched_deposits_are_listed_for_staff_newest_first(staff, arrive, sound):
    older, _ = arrive()
    newer, _ = arrive(1.5, "EUR")
    assert (newer.state, newer.amount_micros, newer.currency_code) == (pb.Deposit.UNMATCHED, 1_500_000, "EUR")
    assert (newer.sender_name, newer.payment_id) == ("Ada Zone", "")
    first = staff.page(size=1)
    second = staff.page(first.next_page_token, size=1)
    assert [first.deposits[0].id, second.deposits[0].id] == [newer.id, older.id]
    assert sound()


def test_assigned_deposit_is_credited_like_a_matched_one(staff, customer, arrive, sound):
    payment_id = customer.create(provider=pb.WISE).payment.id
    deposit, _ = arrive()
    for _ in range(2):
        assigned = staff.assign(deposit.id, payment_id)
        assert (assigned.id, assigned.state, assigned.payment_id) == (deposit.id, pb.Deposit.CREDITED, payment_id)
    paid = customer.get(payment_id)
    assert (paid.state, paid.outcome, paid.paid_micros) == (pb.Payment.SUCCEEDED, pb.Payment.EXACT, ASKED)
    assert [one.id for one in paid.deposits] == [deposit.id]
    assert customer.figures() == (ASKED, 0, 0)
    assert sum(line.available_delta_micros for line in customer.statement()) == ASKED
    assert not staff.named(deposit.remittance_text)
    assert sound()


def test_assigned_deposit_repays_debt_first(staff, customer, arrive, sandboxes, ledger, identities, sound):
    first = customer.create(provider=pb.WISE)
    deposit, number = arrive()
    staff.assign(deposit.id, first.payment.id)
    campaign = {"organization_id": str(customer.organization_id), "campaign_id": str(uuid4()), "currency_code": "USD"}
    hold = pb.HoldBudgetRequest(**campaign, amount_micros=ASKED, idempotency_key=str(uuid4()))
    ledger.HoldBudget(hold, metadata=identities.service_headers("campaign-service"))
    sandboxes.wise.post(f"/sandbox/incoming/{number}/recall").raise_for_status()
    eventually(lambda: customer.balance().debt_micros == ASKED)
    deposit, _ = arrive(501)
    staff.assign(deposit.id, customer.create(provider=pb.WISE).payment.id)
    balance = customer.balance()
    assert (balance.available_micros, balance.debt_micros) == (1_000_000, 0)
    assert sound()


def test_concurrent_assignments_by_staff_credit_one_payment(desk, customer, new_customer, arrive, sound):
    deposit, _ = arrive()
    customers = [customer, new_customer()]
    payments = [who.create(provider=pb.WISE).payment.id for who in customers]
    desks = [desk(Organization.PLATFORM) for _ in payments]

    def assign(which):
        try:
            return desks[which].assign(deposit.id, payments[which]).payment_id
        except grpc.RpcError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(assign, range(2)))
    (refused,) = [one for one in answers if isinstance(one, grpc.RpcError)]
    assert refused.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert sum(who.figures()[0] for who in customers) == ASKED
    assert sound()


def test_impossible_assignment_is_refused_with_a_reason(staff, customer, arrive):
    payment_id = customer.create(provider=pb.WISE).payment.id
    euros, _ = arrive(currency="EUR")
    dollars, _ = arrive()
    refusals = {
        (euros.id, payment_id): "CURRENCY_MISMATCH",
        (str(uuid4()), payment_id): "DEPOSIT_NOT_FOUND",
        (dollars.id, str(uuid4())): "PAYMENT_NOT_FOUND",
    }
    for asked, expected in refusals.items():
        with pytest.raises(grpc.RpcError) as refused:
            staff.assign(*asked)
        assert reason(refused) == expected
    staff.assign(dollars.id, payment_id)
    with pytest.raises(grpc.RpcError) as refused:
        staff.assign(dollars.id, customer.create(provider=pb.WISE).payment.id)
    assert reason(refused) == "DEPOSIT_ASSIGNED"
    assert customer.figures() == (ASKED, 0, 0)


def test_reversed_deposit_cannot_be_assigned(staff, customer, arrive, sandboxes, sound):
    payment_id = customer.create(provider=pb.WISE).payment.id
    deposit, number = arrive()
    sandboxes.wise.post(f"/sandbox/incoming/{number}/recall").raise_for_status()
    eventually(lambda: not staff.named(deposit.remittance_text))
    with pytest.raises(grpc.RpcError) as refused:
        staff.assign(deposit.id, payment_id)
    assert reason(refused) == "DEPOSIT_ASSIGNED"
    assert sound()


@pytest.mark.parametrize("kind", [Organization.ADVERTISER, Organization.PUBLISHER], ids=["advertiser", "publisher"])
def test_only_staff_see_and_assign_unmatched_deposits(desk, customer, arrive, kind):
    deposit, _ = arrive()
    payment_id = customer.create(provider=pb.WISE).payment.id
    stranger = desk(kind)
    assert list(stranger.page().deposits) == []
    with pytest.raises(grpc.RpcError) as refused:
        stranger.assign(deposit.id, payment_id)
    assert reason(refused) == "DEPOSIT_NOT_FOUND"
    with pytest.raises(grpc.RpcError) as refused:
        customer_desk = Desk(customer.headers, stranger.stub)
        customer_desk.page()
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_assignment_is_in_the_audit_trail_of_the_payments_organization(staff, customer, arrive, service_redis_url):
    deposit, _ = arrive()
    staff.assign(deposit.id, customer.create(provider=pb.WISE).payment.id)
    with redis.Redis.from_url(service_redis_url) as client:

        def recorded():
            events = [Event.FromString(fields[b"m"]) for _, fields in client.xrange("bus:audit")]
            mine = [one for one in events if deposit.id in one.audit_recorded.resource]
            return [(one.organization_id, one.audit_recorded.outcome) for one in mine]

        assert eventually(recorded) == [(str(customer.organization_id), "OK")]
