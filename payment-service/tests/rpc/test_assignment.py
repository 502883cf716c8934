"""Unmatched deposits are assigned only to payments that can refund them."""

from dataclasses import dataclass
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.options.v1.options_pb2 import Permission
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc, suspense_pb2, suspense_pb2_grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from sqlalchemy import text

from adlib.clock import SystemClock
from adlib.db import Database, Query
from adlib.ids import new_id
from adtesting import eventually
from payment_service.deposits import store as deposits
from payment_service.deposits.service import DepositService
from payment_service.payments.model import IncomingFunds

ASKED = 25_000_000
CONFIRMATIONS = 3
_EXPIRE = Query(
    text(
        "UPDATE payments SET created_at = created_at - interval '30 days', checked_at = '2020-01-01',"
        " expires_at = now() - interval '1 minute' WHERE id = :payment"
    )
)


def found(error) -> ErrorInfo:
    info = ErrorInfo()
    assert any(detail.Unpack(info) for detail in rpc_status.from_call(error.value).details)
    return info


@dataclass
class Desk:
    """A customer, and staff who assign unmatched deposits."""

    payments: payment_pb2_grpc.PaymentServiceStub
    suspense: suspense_pb2_grpc.SuspenseServiceStub
    ledger: payment_pb2_grpc.LedgerServiceStub
    customer: list
    staff: list
    operator: list
    jobs: payment_pb2_grpc.PaymentJobsServiceStub
    scheduler: list
    db: Database

    def create(self, provider: str, currency_code: str = "USD", **crypto: object) -> pb.CreatePaymentResponse:
        choice = {"crypto": pb.CryptoChoice(**crypto)} if crypto else {}
        asked = pb.CreatePaymentRequest(
            amount_micros=ASKED, currency_code=currency_code, provider=provider, **choice
        )  # fmt: skip
        return self.payments.CreatePayment(asked, metadata=self.customer)

    def get(self, payment_id: str) -> pb.Payment:
        return self.payments.GetPayment(pb.GetPaymentRequest(payment_id=payment_id), metadata=self.customer)

    def unmatched(self, provider: str, currency_code: str = "USD") -> str:
        """Adds an unmatched deposit of the provider and returns its id."""
        funds = IncomingFunds(f"key-{uuid4()}", ASKED, currency_code)
        with self.db.transaction() as tx:
            DepositService(SystemClock(), new_id).suspend(tx, provider, funds)
            return str(deposits.lock_any_tenant(tx, provider, funds.key).id)

    def confirm(self, payment_id: str) -> pb.Payment:
        return self.payments.ConfirmPayment(pb.ConfirmPaymentRequest(payment_id=payment_id), metadata=self.customer)

    def expire(self, payment_id: str) -> None:
        """Expires the payment, as the job does after its expiry."""
        with self.db.transaction() as tx:
            tx.execute(_EXPIRE, payment=UUID(payment_id))
        self.jobs.SettlePayments(pb.SettlePaymentsRequest(), metadata=self.scheduler)

    def assign(self, deposit_id: str, payment_id: str) -> pb.Deposit:
        asked = suspense_pb2.AssignDepositRequest(deposit_id=deposit_id, payment_id=payment_id)
        return self.suspense.AssignDeposit(asked, metadata=self.staff)

    def is_sound(self) -> bool:
        books = self.ledger.VerifyLedger(pb.VerifyLedgerRequest(), metadata=self.operator).currencies
        faults = ("sum_micros", "difference_micros", "overdrawn", "payments_differing")
        return not any(getattr(one, name) for one in books for name in faults)


@pytest.fixture
def desk(platform, identities, access):
    customer, organization_id, staff, office = identities.person(), uuid4(), identities.person(), uuid4()
    access.grant(
        customer, organization_id, Organization.ADVERTISER, Permission.PAYMENTS_CREATE, Permission.PAYMENTS_READ
    )
    access.grant(staff, office, Organization.PLATFORM, Permission.PAYMENTS_APPROVE)
    db = Database(platform.url)
    yield Desk(
        payment_pb2_grpc.PaymentServiceStub(platform.channel),
        suspense_pb2_grpc.SuspenseServiceStub(platform.channel),
        payment_pb2_grpc.LedgerServiceStub(platform.channel),
        identities.headers(customer, organization_id),
        identities.headers(staff, office),
        identities.service_headers("operator"),
        payment_pb2_grpc.PaymentJobsServiceStub(platform.channel),
        identities.service_headers("scheduler"),
        db,
    )
    db.close()


@pytest.mark.parametrize("state", ["open", "expired", "paid"])
def test_deposit_is_assigned_only_to_a_payment_that_can_refund_it(desk, sandboxes, state) -> None:
    payments = {name: desk.create(name).payment.id for name in ("STRIPE", "CRYPTO", "WISE")}
    if state == "paid":
        sandboxes.pay(payments["STRIPE"])
        eventually(lambda: desk.confirm(payments["STRIPE"]).state == pb.Payment.SUCCEEDED)
        for name in ("CRYPTO", "WISE"):
            desk.assign(desk.unmatched(name), payments[name])
    if state == "expired":
        for payment_id in payments.values():
            desk.expire(payment_id)
    paid = {name: desk.get(payment_id).paid_micros for name, payment_id in payments.items()}
    for provider in payments:
        for other, payment_id in payments.items():
            deposit_id = desk.unmatched(provider)
            if provider == other != "STRIPE":
                assert desk.assign(deposit_id, payment_id).state == pb.Deposit.CREDITED
                paid[other] += ASKED
            else:
                with pytest.raises(grpc.RpcError) as refused:
                    desk.assign(deposit_id, payment_id)
                info = found(refused)
                assert info.reason == "DEPOSIT_NOT_ASSIGNABLE"
                assert (info.metadata["provider"], info.metadata["paymentProvider"]) == (provider, other)
            assert desk.get(payment_id).paid_micros == paid[other]
    assert desk.is_sound()


def test_coin_without_rate_in_the_payment_currency_waits_for_staff(desk, sandboxes) -> None:
    created = desk.create("CRYPTO", "EUR", token="USDC")
    payment_id = created.payment.id
    pay = {"to": created.crypto.address, "coin": "USDT", "smallest": "25000000"}
    sandboxes.chain.post("/sandbox/chain/pay", json=pay).raise_for_status()
    sandboxes.chain.post("/sandbox/chain/mine", json={"blocks": CONFIRMATIONS}).raise_for_status()
    (deposit,) = eventually(lambda: desk.get(payment_id).deposits)
    assert (deposit.state, deposit.asset, deposit.currency_code) == (pb.Deposit.UNMATCHED, "USDT", "USD")
    assert (deposit.payment_id, deposit.sent_for_payment_id) == ("", payment_id)
    assert deposit.chain.transaction_hash
    reason = desk.get(payment_id).pending_reason
    assert reason == "USDT worth 25 USD arrived, which is not the payment's currency: staff have it and assign it"
    assert desk.confirm(payment_id).pending_reason == reason
    desk.expire(payment_id)
    waiting = desk.get(payment_id)
    assert waiting.state in (pb.Payment.PENDING, pb.Payment.PROCESSING)
    assert waiting.pending_reason == reason
    with pytest.raises(grpc.RpcError) as refused:
        desk.assign(deposit.id, payment_id)
    assert found(refused).reason == "CURRENCY_MISMATCH"
    dollars = desk.create("CRYPTO", token="USDT").payment.id
    desk.assign(deposit.id, dollars)
    assert desk.get(dollars).outcome == pb.Payment.EXACT
    after = desk.get(payment_id)
    assert (after.pending_reason, after.deposits[0].payment_id) == ("", dollars)
    desk.expire(payment_id)
    assert desk.get(payment_id).state == pb.Payment.EXPIRED
    assert desk.is_sound()
