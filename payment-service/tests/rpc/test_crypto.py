"""Deposits by chain as a customer sees them: requested, paid, shown while pending, credited or refused."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import uuid4

import grpc
import pytest
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.options.v1.options_pb2 import Permission
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc, refunds_pb2, refunds_pb2_grpc
from bip_utils import Bip44, Bip44Coins
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adlib.db import migrate
from adsandbox.chain.coins import CHAIN_ID, COINS
from adtesting import FakeAccess, Identities, eventually
from payment_service.__main__ import MIGRATIONS
from payment_service.providers.crypto.addresses.model import Addresses
from payment_service.providers.crypto.model import Chain, Coin
from payment_service.providers.crypto.settings import CryptoSettings

CONFIRMATIONS = 3
RIGHT = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


def reason(error: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    found = ErrorInfo()
    assert any(detail.Unpack(found) for detail in rpc_status.from_call(error.value).details)
    return found.reason


@pytest.fixture(scope="module")
def crypto_channel(config, running_sandboxes, serve_payments, fresh_session_database) -> Iterator[grpc.Channel]:
    """The service with chains as its only provider, and a running watcher."""
    url = fresh_session_database("payment_crypto", lambda url: migrate(url, *MIGRATIONS))
    account = Bip44.FromSeed(uuid4().bytes * 2, Bip44Coins.ETHEREUM).Purpose().Coin().Account(0)
    coins = [
        Coin("USDC", 6, {"USD": Decimal(1)}, COINS["USDC"].contract),
        Coin("ETH", 18, {"USD": Decimal(2500)}),
    ]
    node = str(running_sandboxes.chain.base_url).rstrip("/")
    settings = CryptoSettings(
        Addresses(str(account.PublicKey().ToExtended())),
        (Chain(CHAIN_ID, "Sandbox", node, CONFIRMATIONS, coins, poll_s=0.05),),
    )
    by_name = {"CRYPTO": settings, "WISE": config.providers.by_name["WISE"]}
    providers = replace(config.providers, by_name=by_name, deposits=("CRYPTO",))
    with serve_payments(replace(config, database_url=url, providers=providers)) as channel:
        yield channel


class Payer:
    """A customer with a wallet on the chain."""

    def __init__(self, channel: grpc.Channel, chain, headers: list[tuple[str, str]]) -> None:
        self.stub = payment_pb2_grpc.PaymentServiceStub(channel)
        self.billing = payment_pb2_grpc.BillingServiceStub(channel)
        self._chain, self._headers = chain, headers

    def create(self, micros: int = 25_000_000, currency: str = "USD", **crypto: object) -> pb.CreatePaymentResponse:
        choice = pb.CryptoChoice(**crypto)
        asked = pb.CreatePaymentRequest(amount_micros=micros, currency_code=currency, provider=pb.CRYPTO, crypto=choice)
        return self.stub.CreatePayment(asked, metadata=self._headers)

    def get(self, payment_id: str) -> pb.Payment:
        return self.stub.GetPayment(pb.GetPaymentRequest(payment_id=payment_id), metadata=self._headers)

    def confirm(self, payment_id: str) -> pb.Payment:
        return self.stub.ConfirmPayment(pb.ConfirmPaymentRequest(payment_id=payment_id), metadata=self._headers)

    def available(self) -> int:
        return self.billing.GetBalance(pb.GetBalanceRequest(), metadata=self._headers).available_micros

    def on_chain(self, name: str, **body: object) -> dict[str, Any]:
        return dict(self._chain.post(f"/sandbox/chain/{name}", json=body).raise_for_status().json())


@pytest.fixture
def payer(crypto_channel: grpc.Channel, sandboxes, identities: Identities, access: FakeAccess) -> Payer:
    person, organization_id = identities.person(), uuid4()
    access.grant(person, organization_id, Organization.ADVERTISER, Permission.PAYMENTS_CREATE, Permission.PAYMENTS_READ)
    return Payer(crypto_channel, sandboxes.chain, identities.headers(person, organization_id))


def test_deposit_is_shown_while_pending_and_credited(payer: Payer) -> None:
    payer.on_chain("mine", blocks=CONFIRMATIONS)
    created = payer.create(refund_address=RIGHT.lower())
    instructions, payment_id = created.crypto, created.payment.id
    assert (instructions.chain_id, instructions.token, instructions.token_contract) == (
        CHAIN_ID,
        "USDC",
        COINS["USDC"].contract,
    )
    assert (instructions.amount, instructions.decimals, instructions.rate, instructions.required_confirmations) == (
        "25000000",
        6,
        "1",
        CONFIRMATIONS,
    )
    assert instructions.expires_time == created.payment.expire_time
    payer.on_chain("pay", to=instructions.address, coin="USDC", smallest=instructions.amount)
    payer.on_chain("mine", blocks=1)
    (seen,) = eventually(lambda: payer.get(payment_id).deposits)
    assert (seen.state, seen.chain.confirmations, seen.asset) == (pb.Deposit.SEEN, 1, "USDC")
    shown = payer.get(payment_id)
    assert (shown.state, shown.crypto) == (pb.Payment.PROCESSING, instructions)
    payer.on_chain("mine", blocks=CONFIRMATIONS - 1)
    eventually(lambda: payer.get(payment_id).state == pb.Payment.SUCCEEDED)
    paid = payer.get(payment_id)
    assert (paid.outcome, paid.paid_micros, payer.available()) == (pb.Payment.EXACT, 25_000_000, 25_000_000)
    payer.on_chain("reorg", depth=CONFIRMATIONS + 1, keep_transactions=False)
    eventually(lambda: payer.get(payment_id).deposits[0].state == pb.Deposit.REVERSED)
    assert (payer.available(), payer.get(payment_id).paid_micros) == (0, 0)


def test_confirming_a_payment_does_not_wait_for_the_watcher(payer: Payer) -> None:
    created = payer.create(token="ETH")
    assert created.crypto.amount == str(10**16)
    payer.on_chain("pay", to=created.crypto.address, coin="ETH", amount="0.01")
    payer.on_chain("mine", blocks=CONFIRMATIONS)
    assert payer.confirm(created.payment.id).state == pb.Payment.SUCCEEDED


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"chain_id": 1}, "CHAIN_NOT_AVAILABLE"),
        ({"token": "DOGE"}, "TOKEN_NOT_AVAILABLE"),
        ({"currency": "EUR"}, "CURRENCY_UNSUPPORTED"),
        ({"refund_address": "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"}, "ADDRESS_INVALID"),
        ({"refund_address": RIGHT.replace("A", "a", 1)}, "ADDRESS_CHECKSUM_INVALID"),
        ({"micros": 0}, "AMOUNT_NOT_POSITIVE"),
        ({"micros": 10**12}, "AMOUNT_TOO_LARGE"),
    ],
    ids=["chain", "token", "currency", "kind", "checksum", "zero", "large"],
)
def test_invalid_choice_is_refused_with_its_reason(payer: Payer, choice: dict[str, object], expected: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        payer.create(**choice)
    assert (refused.value.code(), reason(refused)) == (grpc.StatusCode.INVALID_ARGUMENT, expected)


@pytest.fixture
def staff(crypto_channel: grpc.Channel, identities: Identities, access: FakeAccess):
    """Requests refunds, and reads their results."""
    person, platform = identities.person(), uuid4()
    permissions = (Permission.PAYMENTS_APPROVE, Permission.PAYMENTS_READ)
    access.grant(person, platform, Organization.PLATFORM, *permissions)
    stub, headers = refunds_pb2_grpc.RefundServiceStub(crypto_channel), identities.headers(person, platform)

    def refund(payment_id: str, sent_as: str, micros: int | None = None) -> refunds_pb2.Refund:
        asked = refunds_pb2.RefundPaymentRequest(payment_id=payment_id, sent_as=sent_as, amount_micros=micros)
        return stub.RefundPayment(asked, metadata=headers)

    return refund


@pytest.fixture
def job(crypto_channel: grpc.Channel, identities: Identities):
    """Runs the job; returns whether every item succeeded."""
    stub = payment_pb2_grpc.PaymentJobsServiceStub(crypto_channel)
    headers = identities.service_headers("scheduler")
    return lambda: stub.SettlePayments(pb.SettlePaymentsRequest(), metadata=headers).success


@pytest.fixture
def books(crypto_channel: grpc.Channel, identities: Identities):
    """Whether the ledger is sound."""
    stub = payment_pb2_grpc.LedgerServiceStub(crypto_channel)
    faults = ("sum_micros", "difference_micros", "overdrawn", "payments_differing")

    def add_up() -> bool:
        answer = stub.VerifyLedger(pb.VerifyLedgerRequest(), metadata=identities.service_headers("operator"))
        return not any(getattr(one, name) for one in answer.currencies for name in faults)

    return add_up


@pytest.fixture
def refund_of(crypto_channel: grpc.Channel, payer: Payer):
    stub = refunds_pb2_grpc.RefundServiceStub(crypto_channel)

    def read(payment_id: str) -> list[refunds_pb2.Refund]:
        asked = refunds_pb2.ListRefundsRequest(payment_id=payment_id)
        return list(stub.ListRefunds(asked, metadata=payer._headers).refunds)

    return read


@pytest.fixture
def paid(payer: Payer) -> str:
    """A credited, final payment of 25.00, with the customer's address for refunds."""
    created = payer.create(refund_address=RIGHT)
    payer.on_chain("pay", to=created.crypto.address, coin="USDC", smallest=created.crypto.amount)
    payer.on_chain("mine", blocks=CONFIRMATIONS + 20)
    eventually(lambda: payer.get(created.payment.id).state == pb.Payment.SUCCEEDED)
    return created.payment.id


def test_refund_whose_transaction_is_dropped_returns_to_the_wallet(
    payer: Payer, staff, paid: str, refund_of, job, books, sandboxes
) -> None:
    def send() -> str:
        hash = payer.on_chain("pay", to=RIGHT, coin="USDC", amount="25")["transaction_hash"]
        payer.on_chain("mine", blocks=CONFIRMATIONS)
        return hash

    assert staff(paid, send()).state == refunds_pb2.Refund.SUCCEEDED
    assert (payer.get(paid).state, payer.available()) == (pb.Payment.REFUNDED, 0)
    assert job()
    assert payer.get(paid).state == pb.Payment.REFUNDED
    # A node that is behind does not know the transaction either.
    sandboxes.behave(sandboxes.chain, behind_blocks=CONFIRMATIONS + 1)
    job()
    assert refund_of(paid)[0].state == refunds_pb2.Refund.SUCCEEDED
    sandboxes.behave(sandboxes.chain, behind_blocks=0)
    payer.on_chain("reorg", depth=CONFIRMATIONS + 1, keep_transactions=False)
    payer.on_chain("mine", blocks=1)

    def failed() -> bool:
        return job() and refund_of(paid)[0].state == refunds_pb2.Refund.FAILED

    eventually(failed)
    (back,) = refund_of(paid)
    assert "no longer on it" in back.failure_message
    assert back.returned_micros == 25_000_000
    payment = payer.get(paid)
    assert (payment.state, payment.refunded_micros, payer.available()) == (pb.Payment.SUCCEEDED, 0, 25_000_000)
    lines = payer.billing.GetStatement(pb.GetStatementRequest(), metadata=payer._headers).lines
    assert [one.available_delta_micros for one in lines] == [25_000_000, -25_000_000, 25_000_000]
    assert books()
    # Another transaction is sent first; otherwise the sandbox would create the same transaction again.
    payer.on_chain("pay", to="0x" + "12" * 20, coin="USDC", amount="1")
    assert staff(paid, send()).state == refunds_pb2.Refund.SUCCEEDED
    assert (payer.get(paid).state, payer.available()) == (pb.Payment.REFUNDED, 0)
    assert books()


def test_refund_whose_transaction_reappears_is_debited_again(
    payer: Payer, staff, paid: str, refund_of, job, books
) -> None:
    def send() -> str:
        hash = payer.on_chain("pay", to=RIGHT, coin="USDC", amount="25")["transaction_hash"]
        payer.on_chain("mine", blocks=CONFIRMATIONS)
        return hash

    def becomes(state: int) -> None:
        eventually(lambda: job() and refund_of(paid)[0].state == state)

    hash = send()
    staff(paid, hash)
    for _ in range(2):
        payer.on_chain("reorg", depth=CONFIRMATIONS + 1, keep_transactions=False)
        payer.on_chain("mine", blocks=1)
        becomes(refunds_pb2.Refund.FAILED)
        assert (payer.get(paid).state, payer.available()) == (pb.Payment.SUCCEEDED, 25_000_000)
        assert books()
        assert send() == hash
        becomes(refunds_pb2.Refund.SUCCEEDED)
        assert refund_of(paid)[0].failure_message == ""
        assert (payer.get(paid).state, payer.available()) == (pb.Payment.REFUNDED, 0)
        assert books()


def test_refund_whose_transaction_moves_to_another_block_is_retained(
    payer: Payer, staff, paid: str, refund_of, job, books
) -> None:
    hash = payer.on_chain("pay", to=RIGHT, coin="USDC", amount="25")["transaction_hash"]
    payer.on_chain("mine", blocks=CONFIRMATIONS)
    staff(paid, hash)
    payer.on_chain("reorg", depth=CONFIRMATIONS, keep_transactions=True)
    eventually(job)
    assert refund_of(paid)[0].state == refunds_pb2.Refund.SUCCEEDED
    assert (payer.get(paid).state, payer.available()) == (pb.Payment.REFUNDED, 0)
    assert books()


def test_refused_transaction_leaves_no_refund_and_no_statement_line(
    payer: Payer, staff, paid: str, refund_of, books
) -> None:  # fmt: skip
    used = payer.on_chain("pay", to=RIGHT, coin="USDC", amount="10")["transaction_hash"]
    less = payer.on_chain("pay", to=RIGHT, coin="USDC", amount="14.99")["transaction_hash"]
    more = payer.on_chain("pay", to=RIGHT, coin="USDC", amount="15.01")["transaction_hash"]
    other = payer.on_chain("pay", to="0x" + "12" * 20, coin="USDC", amount="15")["transaction_hash"]
    payer.on_chain("mine", blocks=CONFIRMATIONS)
    staff(paid, used, 10_000_000)
    waiting = payer.on_chain("pay", to=RIGHT, coin="USDC", amount="15")["transaction_hash"]
    before = payer.billing.GetStatement(pb.GetStatementRequest(), metadata=payer._headers)
    for sent_as in ("", "0x12", "0x" + "ab" * 32, used, less, more, other, waiting):
        with pytest.raises(grpc.RpcError) as refused:
            staff(paid, sent_as)
        assert (refused.value.code(), reason(refused)) == (grpc.StatusCode.FAILED_PRECONDITION, "REFUND_NOT_SEEN")
    assert payer.billing.GetStatement(pb.GetStatementRequest(), metadata=payer._headers) == before
    assert len(refund_of(paid)) == 1
    assert (payer.available(), payer.get(paid).refunded_micros) == (15_000_000, 10_000_000)
    assert books()
    payer.on_chain("mine", blocks=CONFIRMATIONS)
    assert staff(paid, waiting).state == refunds_pb2.Refund.SUCCEEDED
    assert payer.get(paid).state == pb.Payment.REFUNDED
