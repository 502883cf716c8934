"""New payments are limited to billable currencies; existing payments in others stay valid."""

from uuid import uuid4

import grpc
import psycopg
import pytest
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.options.v1.options_pb2 import Permission
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adtesting import eventually


@pytest.fixture
def wallet_currencies() -> tuple[str, ...]:
    return ("USD",)


@pytest.fixture
def stub(platform) -> payment_pb2_grpc.PaymentServiceStub:
    return payment_pb2_grpc.PaymentServiceStub(platform.channel)


@pytest.fixture
def headers(identities, access) -> list[tuple[str, str]]:
    person, organization_id = identities.person(), uuid4()
    access.grant(person, organization_id, Organization.ADVERTISER, Permission.PAYMENTS_CREATE, Permission.PAYMENTS_READ)
    return list(identities.headers(person, organization_id))


def create(stub, headers, provider: str, currency_code: str, key: str = "") -> pb.CreatePaymentResponse:
    asked = pb.CreatePaymentRequest(amount_micros=25_000_000, currency_code=currency_code, provider=provider)
    return stub.CreatePayment(asked, metadata=[*headers, ("idempotency-key", key or str(uuid4()))])


@pytest.mark.parametrize("currency_code", ["EUR", "GBP", "JPY"])
@pytest.mark.parametrize("provider", ["STRIPE", "CRYPTO", "WISE"])
def test_payment_in_a_currency_that_cannot_be_billed_is_refused(stub, headers, provider, currency_code) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        create(stub, headers, provider, currency_code)
    found = ErrorInfo()
    assert any(detail.Unpack(found) for detail in rpc_status.from_call(refused.value).details)
    assert (refused.value.code(), found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CURRENCY_UNSUPPORTED")
    assert refused.value.details() == f"no campaign can be paid for in {currency_code}; use USD"
    assert (found.metadata["currencyCode"], found.metadata["usable"]) == (currency_code, "USD")
    assert not stub.ListPayments(pb.ListPaymentsRequest(), metadata=headers).payments
    assert create(stub, headers, provider, "USD").payment.id


def test_existing_payment_in_an_unbillable_currency_is_credited(platform, stub, headers, sandboxes, identities) -> None:
    created = create(stub, headers, "WISE", "USD", key="k")
    payment_id = created.payment.id
    with psycopg.connect(platform.url, autocommit=True) as sql:
        # As in a configuration in which euros could be billed.
        sql.execute("UPDATE payments SET currency_code = 'EUR'")
    body = {"currency": "EUR", "amount": 25, "reference": created.wise.reference, "sender_name": "Ada Zone"}
    sandboxes.wise.post("/sandbox/incoming", json=body).raise_for_status()

    def paid() -> pb.Payment:
        return stub.ConfirmPayment(pb.ConfirmPaymentRequest(payment_id=payment_id), metadata=headers)

    eventually(lambda: paid().state == pb.Payment.SUCCEEDED)
    billing = payment_pb2_grpc.BillingServiceStub(platform.channel)
    assert (
        billing.GetBalance(pb.GetBalanceRequest(currency_code="EUR"), metadata=headers).available_micros == 25_000_000
    )
    assert create(stub, headers, "WISE", "EUR", key="k").payment.id == payment_id
    ledger = payment_pb2_grpc.LedgerServiceStub(platform.channel)
    books = ledger.VerifyLedger(pb.VerifyLedgerRequest(), metadata=identities.service_headers("operator")).currencies
    assert not any(one.sum_micros or one.difference_micros or one.payments_differing for one in books)
