"""The ledger as campaign-service uses it."""

from uuid import uuid4

import grpc
import psycopg
import pytest
from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.payment.v1 import payment_pb2 as pb
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adtesting import Identities, eventually

HELD = 100_000_000


@pytest.fixture
def headers(identities: Identities) -> list[tuple[str, str]]:
    return identities.service_headers("campaign-service")


@pytest.fixture
def funded(customer, sandboxes, gateway):
    """A customer with 500."""
    sandboxes.pay(customer.create().payment.id)
    eventually(lambda: customer.balance().available_micros)
    return customer


def test_campaign_money_flows_from_deposit_to_publisher(funded, ledger, headers, identities, sound) -> None:
    whose = {"organization_id": str(funded.organization_id), "campaign_id": str(uuid4()), "currency_code": "USD"}
    hold = pb.HoldBudgetRequest(**whose, amount_micros=HELD, idempotency_key="start:1")
    for _ in range(2):
        assert ledger.HoldBudget(hold, metadata=headers).held_micros == HELD
    assert funded.figures() == (400_000_000, HELD, 0)
    share = pb.PublisherShare(
        organization_id=str(uuid4()), publisher_id=str(uuid4()), zone_id=str(uuid4()), share_basis_points=7000
    )
    items = [
        pb.SpendItem(**whose, amount_micros=10_000_001, idempotency_key="day:1", publisher=share),
        pb.SpendItem(**whose, amount_micros=5_000_000, idempotency_key="day:2"),
    ]
    for _ in range(2):
        results = ledger.PostSpend(pb.PostSpendRequest(items=items), metadata=headers).results
        assert [one.posted_micros for one in results] == [10_000_001, 5_000_000]
        assert [one.held_micros for one in results] == [84_999_999] * 2
    assert funded.figures() == (400_000_000, 84_999_999, 15_000_001)
    (earned,) = ledger.ListPublisherBalances(
        pb.ListPublisherBalancesRequest(publisher_ids=[share.publisher_id, str(uuid4())]),
        metadata=identities.service_headers("publisher-service"),
    ).balances
    assert (earned.available_micros, earned.pending_micros, earned.paid_micros) == (7_000_000, 0, 0)
    release = pb.ReleaseHoldRequest(**whose, idempotency_key="end")
    for _ in range(2):
        assert ledger.ReleaseHold(release, metadata=headers).released_micros == 84_999_999
    assert funded.figures() == (484_999_999, 0, 15_000_001)
    assert sound()


def test_hold_beyond_the_balance_names_available_and_required_amounts(funded, ledger, headers) -> None:
    request = pb.HoldBudgetRequest(
        organization_id=str(funded.organization_id),
        campaign_id=str(uuid4()),
        amount_micros=500_000_001,
        currency_code="USD",
        idempotency_key="k",
    )
    with pytest.raises(grpc.RpcError) as refused:
        ledger.HoldBudget(request, metadata=headers)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    found = ErrorInfo()
    assert rpc_status.from_call(refused.value).details[0].Unpack(found)
    assert found.reason == "INSUFFICIENT_FUNDS"
    assert dict(found.metadata) == {"availableMicros": "500000000", "requiredMicros": "500000001"}
    assert "500 USD are available" in (refused.value.details() or "")
    assert funded.figures() == (500_000_000, 0, 0)


def test_balance_defaults_to_dollars(funded) -> None:
    assert funded.balance().currency_code == "USD"
    assert funded.balance("EUR") == pb.Balance(currency_code="EUR")
    with pytest.raises(grpc.RpcError) as refused:
        funded.balance("XXX")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_spend_with_a_used_key_is_refused_per_item(funded, ledger, headers, sound) -> None:
    whose = {"organization_id": str(funded.organization_id), "campaign_id": str(uuid4()), "currency_code": "USD"}
    ledger.HoldBudget(pb.HoldBudgetRequest(**whose, amount_micros=HELD, idempotency_key="start"), metadata=headers)

    def post(**amounts: int) -> list[tuple[str, int, int]]:
        items = [pb.SpendItem(**whose, amount_micros=micros, idempotency_key=key) for key, micros in amounts.items()]
        results = ledger.PostSpend(pb.PostSpendRequest(items=items), metadata=headers).results
        return [(ErrorReason.Name(one.refusal), one.posted_micros, one.first_posted_micros) for one in results]

    taken = "ERROR_REASON_UNSPECIFIED"
    assert post(a=10) == [(taken, 10, 0)]
    assert post(a=11, b=5) == [("IDEMPOTENCY_KEY_REUSED", 0, 10), (taken, 5, 0)]
    assert post(a=10) == [(taken, 10, 0)]
    assert funded.figures()[2] == 15
    assert sound()


def test_verification_names_payments_that_differ(
    gateway, customer, sandboxes, ledger, identities, sql: psycopg.Connection
) -> None:
    operator = identities.service_headers("operator")

    def usd() -> pb.VerifyLedgerResponse.Currency:
        answer = ledger.VerifyLedger(pb.VerifyLedgerRequest(), metadata=operator)
        return next(one for one in answer.currencies if one.currency_code == "USD")

    payment_id = customer.create().payment.id
    sandboxes.pay(payment_id)
    customer.confirm(payment_id)
    assert (usd().payments_differing, usd().differing_payment_ids) == (0, [])
    sql.execute("UPDATE payments SET paid_micros = paid_micros + 7 WHERE id = %s", [payment_id])
    assert (usd().payments_differing, usd().differing_payment_ids) == (1, [payment_id])
    sql.execute("UPDATE payments SET paid_micros = paid_micros - 7 WHERE id = %s", [payment_id])
