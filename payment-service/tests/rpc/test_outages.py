"""A known outage of any provider refuses new payments, is shown on open ones, and ends by itself."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import grpc
import httpx
import psycopg
import pytest
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.options.v1.options_pb2 import Permission
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adsandbox.chain.coins import CHAIN_ID
from adtesting import FakeAccess, Identities, eventually

every_provider = pytest.mark.parametrize("provider", ["STRIPE", "CRYPTO", "WISE"])
# Longer than any provider may fail before it counts as down.
LONG = timedelta(minutes=5)


@dataclass
class Payer:
    """A customer who pays by one of the providers."""

    stub: payment_pb2_grpc.PaymentServiceStub
    headers: list[tuple[str, str]]
    provider: str

    def create(self, key: str = "") -> pb.Payment:
        asked = pb.CreatePaymentRequest(amount_micros=25_000_000, currency_code="USD", provider=self.provider)
        metadata = [*self.headers, ("idempotency-key", key)] if key else self.headers
        return self.stub.CreatePayment(asked, metadata=metadata).payment

    def get(self, payment_id: str) -> pb.Payment:
        return self.stub.GetPayment(pb.GetPaymentRequest(payment_id=payment_id), metadata=self.headers)

    def confirm(self, payment_id: str) -> pb.Payment:
        return self.stub.ConfirmPayment(pb.ConfirmPaymentRequest(payment_id=payment_id), metadata=self.headers)

    def list(self) -> list[pb.Payment]:
        return list(self.stub.ListPayments(pb.ListPaymentsRequest(), metadata=self.headers).payments)

    def refusal(self) -> ErrorInfo:
        """Why a new payment is refused."""
        with pytest.raises(grpc.RpcError) as refused:
            self.create()
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        found = ErrorInfo()
        assert any(detail.Unpack(found) for detail in rpc_status.from_call(refused.value).details)
        assert found.metadata["reason"] in (refused.value.details() or "")
        return found


@pytest.fixture
def payer(platform, identities: Identities, access: FakeAccess, provider: str) -> Payer:
    person, organization_id = identities.person(), uuid4()
    access.grant(person, organization_id, Organization.ADVERTISER, Permission.PAYMENTS_CREATE, Permission.PAYMENTS_READ)
    stub = payment_pb2_grpc.PaymentServiceStub(platform.channel)
    return Payer(stub, identities.headers(person, organization_id), provider)


@pytest.fixture
def outside(sandboxes, provider: str) -> httpx.Client:
    clients: dict[str, httpx.Client] = {
        "STRIPE": sandboxes.stripe, "CRYPTO": sandboxes.chain, "WISE": sandboxes.wise
    }  # fmt: skip
    return clients[provider]


@every_provider
def test_known_outage_refuses_new_payments_until_the_provider_responds(
    platform, payer: Payer, outside: httpx.Client, sandboxes, provider: str
) -> None:
    sandboxes.chain.post("/sandbox/chain/mine", json={"blocks": 1}).raise_for_status()
    first = payer.create(key="first")
    sandboxes.behave(outside, fail_rate=1)
    assert "does not answer" in payer.confirm(first.id).pending_reason
    platform.clock.passed += LONG
    payer.confirm(first.id)
    found = payer.refusal()
    assert (found.reason, found.metadata["provider"]) == ("PROVIDER_UNAVAILABLE", provider)
    assert found.metadata.get("chainId") == (str(CHAIN_ID) if provider == "CRYPTO" else None)
    because = found.metadata["reason"]
    assert [one.pending_reason for one in payer.list()] == [because], "nothing was stored for the refused payment"
    assert payer.get(first.id).pending_reason == because
    assert payer.confirm(first.id).pending_reason == because
    # A repeat returns the existing payment, also in an outage.
    assert payer.create(key="first").id == first.id
    sandboxes.behave(outside, fail_rate=0)

    def is_open() -> bool:
        try:
            return bool(payer.create().id)
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - the watcher has yet to read the chain
            return False

    eventually(is_open)
    assert payer.get(first.id).pending_reason == ""


@every_provider
def test_single_failure_does_not_refuse_payments(payer: Payer, outside: httpx.Client, sandboxes) -> None:
    sandboxes.chain.post("/sandbox/chain/mine", json={"blocks": 1}).raise_for_status()
    first = payer.create()
    sandboxes.behave(outside, fail_next=1)
    payer.confirm(first.id)
    assert payer.create().id
    assert payer.confirm(first.id).pending_reason == ""


@pytest.mark.parametrize("provider", ["CRYPTO"])
def test_halted_chain_refuses_payments_and_is_the_pending_reason_of_open_ones(platform, payer: Payer) -> None:
    payment = payer.create()
    with psycopg.connect(platform.url, autocommit=True) as sql:
        halt = "UPDATE crypto_chains SET halted_reason = 'it was reorganized too deep'"
        eventually(lambda: sql.execute(halt).rowcount == 1)
        found = payer.refusal()
        assert (found.reason, found.metadata["chainId"]) == ("PROVIDER_UNAVAILABLE", str(CHAIN_ID))
        assert "it was reorganized too deep" in found.metadata["reason"]
        for asked in (payer.get(payment.id), payer.confirm(payment.id), *payer.list()):
            assert "staff look into Sandbox" in asked.pending_reason
            assert "keep trying" not in asked.pending_reason
        assert sql.execute("SELECT count(*) FROM crypto_addresses").fetchone() == (1,)
        sql.execute("UPDATE crypto_chains SET halted_reason = ''")
    assert payer.get(payment.id).pending_reason == ""
    assert payer.create().id
