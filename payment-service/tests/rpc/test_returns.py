"""Refunds that are returned and deposits that are recalled, in whole or in part."""

from dataclasses import dataclass
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.options.v1.options_pb2 import Permission
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import refunds_pb2, refunds_pb2_grpc, suspense_pb2, suspense_pb2_grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adtesting import eventually

UNIT = 1_000_000
IBAN = "DE89370400440532013000"
Refund = refunds_pb2.Refund


@dataclass
class Desk:
    """Staff with PAYMENTS_APPROVE."""

    headers: list[tuple[str, str]]
    stub: refunds_pb2_grpc.RefundServiceStub

    def refund(self, payment_id: str, micros: int | None, sent_as: str, key: str = "") -> Refund:
        request = refunds_pb2.RefundPaymentRequest(payment_id=payment_id, amount_micros=micros, sent_as=sent_as)
        return self.stub.RefundPayment(request, metadata=[*self.headers, *([("idempotency-key", key)] if key else [])])

    def refused(self, *arguments: object) -> tuple[grpc.StatusCode, str, str]:
        with pytest.raises(grpc.RpcError) as error:
            self.refund(*arguments)
        found = ErrorInfo()
        assert any(detail.Unpack(found) for detail in rpc_status.from_call(error.value).details)
        return error.value.code(), found.reason, error.value.details()


@pytest.fixture
def staff(channel, identities, access) -> Desk:
    person, organization_id = identities.person(), uuid4()
    access.grant(person, organization_id, Organization.PLATFORM, Permission.PAYMENTS_APPROVE)
    return Desk(identities.headers(person, organization_id), refunds_pb2_grpc.RefundServiceStub(channel))


@pytest.fixture
def refunds_of(channel, customer):
    stub = refunds_pb2_grpc.RefundServiceStub(channel)

    def read(payment_id: str) -> list[Refund]:
        request = refunds_pb2.ListRefundsRequest(payment_id=payment_id)
        return list(stub.ListRefunds(request, metadata=customer.headers).refunds)

    return read


@pytest.fixture
def received(sandboxes, gateway, customer):
    """Creates a payment credited by bank transfer; returns its id and the transfer's number at Wise."""

    def make(amount: int = 20) -> tuple[str, str]:
        made = customer.create(amount * UNIT, provider=pb.WISE)
        body = {"currency": "USD", "amount": amount, "reference": made.wise.reference}
        number = sandboxes.wise.post("/sandbox/incoming", json=body).raise_for_status().json()["referenceNumber"]
        eventually(lambda: customer.get(made.payment.id).state == pb.Payment.SUCCEEDED)
        return made.payment.id, number

    return make


@pytest.fixture
def send(sandboxes):
    """Sends money by hand, as staff do; returns the transfer's number."""

    def make(amount: object = 20) -> str:
        body = {"currency": "USD", "amount": amount, "reference": "refund"}
        number = str(sandboxes.wise.post("/sandbox/transfers", json=body).raise_for_status().json()["id"])
        eventually(lambda: _status(sandboxes, number) == "outgoing_payment_sent")
        return number

    return make


def _status(sandboxes, number: str) -> str:
    return str(sandboxes.wise.get(f"/sandbox/transfers/{number}").json().get("status"))


def _money(customer) -> tuple[int, int, int]:
    balance = customer.balance()
    return balance.available_micros, balance.reserved_micros, balance.debt_micros


def _lines(customer) -> list[tuple[str, str, int]]:
    kind, phase = pb.StatementLine.Kind.Name, pb.StatementLine.Phase.Name
    return [(kind(one.kind), phase(one.phase), one.available_delta_micros) for one in customer.statement()]


@pytest.mark.parametrize("how", ["webhook", "job"])
def test_bounced_refund_returns_to_the_wallet_and_can_be_sent_again(
    customer, staff, received, send, bounce, sandboxes, gateway, refunds_of, settle, sound, how: str
) -> None:
    payment_id, _ = received()
    number = send()
    assert staff.refund(payment_id, None, number).state == Refund.SUCCEEDED
    assert (customer.get(payment_id).state, _money(customer)) == (pb.Payment.REFUNDED, (0, 0, 0))
    assert sound()
    gateway.open = how == "webhook"
    bounce(number)
    eventually(lambda: _status(sandboxes, number) == "funds_refunded")
    if how == "job":
        eventually(lambda: settle() and refunds_of(payment_id)[0].state == Refund.FAILED, within_s=60)
    failed = eventually(lambda: one if (one := refunds_of(payment_id)[0]).state == Refund.FAILED else None)
    assert (failed.failure_message, failed.returned_micros) == ("the transfer was refunded", 20 * UNIT)
    payment = customer.get(payment_id)
    assert (payment.state, payment.refunded_micros, _money(customer)) == (pb.Payment.SUCCEEDED, 0, (20 * UNIT, 0, 0))
    assert _lines(customer) == [
        ("REFUND", "POSTED", 20 * UNIT), ("REFUND", "POSTED", -20 * UNIT), ("DEPOSIT", "POSTED", 20 * UNIT),
    ]  # fmt: skip
    assert sound()
    assert staff.refused(payment_id, None, number)[1] == "REFUND_NOT_SEEN"
    assert staff.refund(payment_id, None, send()).state == Refund.SUCCEEDED
    assert customer.get(payment_id).state == pb.Payment.REFUNDED
    assert sound()


def test_charged_back_refund_returns_to_the_wallet(
    customer, staff, received, send, sandboxes, refunds_of, sound
) -> None:
    payment_id, _ = received()
    number = send()
    staff.refund(payment_id, None, number)
    sandboxes.wise.post(f"/sandbox/transfers/{number}/charge-back").raise_for_status()
    eventually(lambda: refunds_of(payment_id)[0].state == Refund.FAILED)
    assert (customer.get(payment_id).state, _money(customer)) == (pb.Payment.SUCCEEDED, (20 * UNIT, 0, 0))
    assert sound()


def test_partly_returned_refund_credits_each_part_when_it_returns(
    customer, staff, received, send, bounce, sandboxes, refunds_of, suspended, settle, sound
) -> None:
    payment_id, _ = received()
    number, before = send(), suspended()
    staff.refund(payment_id, None, number)
    bounce(number, returned="19.00")
    failed = eventually(lambda: one if (one := refunds_of(payment_id)[0]).state == Refund.FAILED else None)
    assert failed.returned_micros == 19 * UNIT
    assert failed.failure_message == "the transfer was refunded; 19 of 20 USD came back"
    payment = customer.get(payment_id)
    assert (payment.state, payment.refunded_micros, _money(customer)) == (pb.Payment.SUCCEEDED, UNIT, (19 * UNIT, 0, 0))
    assert suspended() == before + UNIT
    assert sound()
    sandboxes.wise.post(f"/sandbox/transfers/{number}/return", json={"amount": 1}).raise_for_status()
    eventually(lambda: _money(customer) == (20 * UNIT, 0, 0))
    assert (refunds_of(payment_id)[0].returned_micros, customer.get(payment_id).refunded_micros) == (20 * UNIT, 0)
    assert suspended() == before
    settle()
    assert _money(customer) == (20 * UNIT, 0, 0)
    assert sound()


def test_returned_refund_pays_debts_first(
    customer, staff, received, send, bounce, sandboxes, spend, refunds_of, sound
) -> None:
    (payment_id, _), (_, number) = received(), received()
    sent = send()
    staff.refund(payment_id, None, sent)
    spend(customer.organization_id, 20 * UNIT)
    sandboxes.wise.post(f"/sandbox/incoming/{number}/recall").raise_for_status()
    eventually(lambda: _money(customer) == (0, 0, 20 * UNIT))
    bounce(sent)
    eventually(lambda: _money(customer) == (0, 0, 0))
    assert sound()


@pytest.fixture
def spend(ledger, identities):
    def post(organization_id: UUID, micros: int) -> None:
        campaign = {"organization_id": str(organization_id), "campaign_id": str(uuid4()), "currency_code": "USD"}
        moved = {**campaign, "amount_micros": micros}
        metadata = identities.service_headers("campaign-service")
        ledger.HoldBudget(pb.HoldBudgetRequest(**moved, idempotency_key=str(uuid4())), metadata=metadata)
        item = pb.SpendItem(**moved, idempotency_key=str(uuid4()))
        ledger.PostSpend(pb.PostSpendRequest(items=[item]), metadata=metadata)

    return post


def test_refused_manual_refund_leaves_no_refund_and_no_statement_line(
    customer, staff, received, send, sandboxes, refunds_of, sql, sound
) -> None:
    (payment_id, _), (other, _) = received(), received()
    used, less, more = send(), send("19.99"), send("20.01")
    staff.refund(other, None, used)
    lines, money = _lines(customer), _money(customer)
    for sent_as in ("", "1", "number-one", used, less, more):
        code, reason, _ = staff.refused(payment_id, None, sent_as, f"key {sent_as}")
        assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REFUND_NOT_SEEN"), sent_as
    sandboxes.behave(sandboxes.wise, fail_next=1)
    with pytest.raises(grpc.RpcError) as unavailable:
        staff.refund(payment_id, None, less)
    assert unavailable.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not refunds_of(payment_id)
    assert (_lines(customer), _money(customer)) == (lines, money)
    kept = "SELECT count(*) FROM transfers WHERE reference = %s AND kind = 'REFUND'"
    assert sql.execute(kept, [payment_id]).fetchone() == (0,)
    assert sound()
    # The same call with the amount that was sent, and its repeat.
    right = send()
    first = staff.refund(payment_id, None, right, "k")
    assert staff.refund(payment_id, None, right, "k") == first
    assert [line for line in _lines(customer) if line not in lines] == []
    assert len(refunds_of(payment_id)) == 1


def test_partial_recall_reverses_the_recalled_part_of_a_deposit(
    customer, received, sandboxes, gateway, settle, sound
) -> None:
    payment_id, number = received(100)
    recall = f"/sandbox/incoming/{number}/recall"
    sandboxes.wise.post(recall, json={"amount": "0.50"}).raise_for_status()
    eventually(lambda: _money(customer) == (99_500_000, 0, 0))
    for path, body, headers in [one for one in gateway.received if one[0] == "/webhooks/wise"]:
        gateway.deliver(path, body, {**headers, "x-delivery-id": str(uuid4())})
    settle()
    payment = customer.get(payment_id)
    (deposit,) = payment.deposits
    assert (payment.paid_micros, payment.outcome) == (99_500_000, pb.Payment.UNDERPAID)
    assert (deposit.state, deposit.amount_micros, deposit.recalled_micros) == (
        pb.Deposit.CREDITED, 100 * UNIT, 500_000,
    )  # fmt: skip
    assert _money(customer) == (99_500_000, 0, 0)
    assert ("REVERSAL", "POSTED", -500_000) in _lines(customer)
    assert sound()
    # A second recall of the same amount is another line; a third line recalls the rest.
    sandboxes.wise.post(recall, json={"amount": "0.50"}).raise_for_status()
    eventually(lambda: _money(customer) == (99 * UNIT, 0, 0))
    sandboxes.wise.post(recall).raise_for_status()
    eventually(lambda: _money(customer) == (0, 0, 0))
    settle()
    payment = customer.get(payment_id)
    assert (payment.paid_micros, payment.deposits[0].state) == (0, pb.Deposit.REVERSED)
    assert sound()


@pytest.mark.parametrize("how", ["job", "webhooks, the recall first"])
def test_partial_recall_that_arrives_before_its_deposit_reduces_it(
    customer, sandboxes, gateway, settle, sound, how: str
) -> None:
    gateway.open = False
    made = customer.create(100 * UNIT, provider=pb.WISE)
    body = {"currency": "USD", "amount": 100, "reference": made.wise.reference}
    number = sandboxes.wise.post("/sandbox/incoming", json=body).raise_for_status().json()["referenceNumber"]
    sandboxes.wise.post(f"/sandbox/incoming/{number}/recall", json={"amount": 40}).raise_for_status()
    mine = eventually(
        lambda: kept if len(kept := [one for one in gateway.received if b"balances#update" in one[1]]) >= 2 else None
    )
    if how == "job":
        settle()
    else:
        for one in reversed(mine):
            gateway.deliver(*one)
    payment = customer.get(made.payment.id)
    assert (payment.paid_micros, _money(customer)) == (60 * UNIT, (60 * UNIT, 0, 0))
    settle()
    assert _money(customer) == (60 * UNIT, 0, 0)
    assert sound()


def test_recalled_part_of_an_unmatched_deposit_is_not_assigned(
    customer, sandboxes, gateway, sql, settle, suspended, channel, identities, access, sound
) -> None:
    before = suspended()
    body = {"currency": "USD", "amount": 100, "reference": "no reference"}
    number = sandboxes.wise.post("/sandbox/incoming", json=body).raise_for_status().json()["referenceNumber"]
    eventually(lambda: suspended() == before + 100 * UNIT)
    sandboxes.wise.post(f"/sandbox/incoming/{number}/recall", json={"amount": 30}).raise_for_status()
    eventually(lambda: suspended() == before + 70 * UNIT)
    assert sound()
    person, platform = identities.person(), uuid4()
    access.grant(person, platform, Organization.PLATFORM, Permission.PAYMENTS_APPROVE)
    payment_id = customer.create(70 * UNIT, provider=pb.WISE).payment.id
    (deposit_id,) = sql.execute("SELECT id FROM deposits WHERE external_key = %s", [number]).fetchone()
    suspense_pb2_grpc.SuspenseServiceStub(channel).AssignDeposit(
        suspense_pb2.AssignDepositRequest(deposit_id=str(deposit_id), payment_id=payment_id),
        metadata=identities.headers(person, platform),
    )
    assert (customer.get(payment_id).paid_micros, _money(customer)) == (70 * UNIT, (70 * UNIT, 0, 0))
    sandboxes.wise.post(f"/sandbox/incoming/{number}/recall", json={"amount": 20}).raise_for_status()
    eventually(lambda: _money(customer) == (50 * UNIT, 0, 0))
    assert (customer.get(payment_id).paid_micros, suspended()) == (50 * UNIT, before)
    assert sound()


def test_card_refund_is_polled_until_it_is_final(
    customer, staff, sandboxes, gateway, refunds_of, settle, sql, sound
) -> None:
    payment_id = customer.create(20 * UNIT).payment.id
    sandboxes.pay(payment_id)
    eventually(lambda: customer.get(payment_id).state == pb.Payment.SUCCEEDED)
    refund = staff.refund(payment_id, None, "")
    assert refund.state == Refund.SUCCEEDED
    (external_id,) = sql.execute("SELECT external_id FROM refunds WHERE id = %s", [refund.id]).fetchone()
    gateway.open = False
    sandboxes.stripe.post(f"/sandbox/refunds/{external_id}/fail").raise_for_status()
    # As if its event had never been delivered.
    kept = sandboxes.stripe.get("/v1/events", params={"limit": 100}).raise_for_status().json()["data"]
    for event in kept:
        sql.execute(
            "INSERT INTO webhook_events (provider, event_id, kind, payload, received_at, booked_at)"
            " VALUES ('STRIPE', %s, %s, '', now(), now()) ON CONFLICT DO NOTHING",
            [event["id"], event["type"]],
        )
    settle()
    assert refunds_of(payment_id)[0].state == Refund.SUCCEEDED

    def asked() -> bool:
        sql.execute("UPDATE refunds SET ask_at = now() WHERE id = %s", [refund.id])
        settle()
        return refunds_of(payment_id)[0].state == Refund.FAILED

    eventually(asked, within_s=60)
    assert (customer.get(payment_id).state, _money(customer)) == (pb.Payment.SUCCEEDED, (20 * UNIT, 0, 0))
    assert sql.execute("SELECT followed_until FROM refunds WHERE id = %s", [refund.id]).fetchone() == (None,)
    assert sound()


def test_refund_is_not_polled_after_its_tracking_period(
    customer, staff, received, send, bounce, sandboxes, gateway, settle, sql
) -> None:
    payment_id, _ = received()
    refund = staff.refund(payment_id, None, send())
    due = "UPDATE refunds SET ask_at = '2020-01-01', followed_until = now() + %s::interval WHERE id = %s"
    followed = "SELECT followed_until IS NOT NULL, ask_at > '2021-01-01' FROM refunds WHERE id = %s"

    def asked(until: str) -> bool:
        sql.execute(due, [until, refund.id])
        settle()
        return bool(sql.execute(followed, [refund.id]).fetchone()[1])

    eventually(lambda: asked("1 day"), within_s=60)
    assert sql.execute(followed, [refund.id]).fetchone()[0]
    eventually(lambda: asked("-1 second"), within_s=60)
    assert not sql.execute(followed, [refund.id]).fetchone()[0]
