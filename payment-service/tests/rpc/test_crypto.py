"""A deposit by chain as a customer sees it: asked for, paid, shown while it waits, credited, and what is refused."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from uuid import uuid4

import grpc
import pytest
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.options.v1.options_pb2 import Permission
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc
from bip_utils import Bip44, Bip44Coins
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adlib import service
from adlib.clock import SystemClock
from adlib.db import Database, migrate
from adlib.testing import FakeAccess, Identities, eventually, running, stub_channel
from adsandbox.chain_coins import CHAIN_ID, COINS
from payment_service.__main__ import MIGRATIONS, World, assemble
from payment_service.payouts.wise import Wise
from payment_service.providers.crypto.addresses import Addresses
from payment_service.providers.crypto.model import Chain, Coin
from payment_service.providers.crypto.settings import CryptoSettings

CONFIRMATIONS = 3
RIGHT = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


def reason(error: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    found = ErrorInfo()
    assert any(detail.Unpack(found) for detail in rpc_status.from_call(error.value).details)
    return found.reason


@pytest.fixture(scope="module")
def crypto_channel(
    config, running_sandboxes, identities: Identities, access: FakeAccess, organizations, fresh_session_database
) -> Iterator[grpc.Channel]:
    """The service with chains alone, whose watcher is at work."""
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
    db, clock = Database(url), SystemClock()
    world = World(
        db=db,
        redis=service.connect_redis(config.common.redis_url),
        providers={"CRYPTO": settings.provider(db, clock)},
        bank=Wise(config.bank.url, config.bank.token, config.bank.profile_id),
        verifier=identities.verifier(),
        access=access,
        organizations=organizations,
        clock=clock,
    )
    told = replace(config, database_url=url, providers={"CRYPTO": settings})
    with running(assemble(told, world)) as server, stub_channel(server) as channel:
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

    def on_chain(self, name: str, **body: object) -> None:
        self._chain.post(f"/sandbox/chain/{name}", json=body).raise_for_status()


@pytest.fixture
def payer(crypto_channel: grpc.Channel, sandboxes, identities: Identities, access: FakeAccess) -> Payer:
    person, organization_id = identities.person(), uuid4()
    access.grant(person, organization_id, Organization.ADVERTISER, Permission.PAYMENTS_CREATE, Permission.PAYMENTS_READ)
    return Payer(crypto_channel, sandboxes.chain, identities.headers(person, organization_id))


def test_a_deposit_is_asked_for_paid_shown_and_credited(payer: Payer) -> None:
    payer.on_chain("mine", blocks=CONFIRMATIONS)
    created = payer.create(refund_address=RIGHT.lower())
    told, payment_id = created.crypto, created.payment.id
    assert (told.chain_id, told.token, told.token_contract) == (CHAIN_ID, "USDC", COINS["USDC"].contract)
    assert (told.amount, told.decimals, told.rate, told.required_confirmations) == ("25000000", 6, "1", CONFIRMATIONS)
    assert told.expires_time == created.payment.expire_time
    payer.on_chain("pay", to=told.address, coin="USDC", smallest=told.amount)
    payer.on_chain("mine", blocks=1)
    (seen,) = eventually(lambda: payer.get(payment_id).deposits)
    assert (seen.state, seen.chain.confirmations, seen.asset) == (pb.Deposit.SEEN, 1, "USDC")
    shown = payer.get(payment_id)
    assert (shown.state, shown.crypto) == (pb.Payment.PROCESSING, told)
    payer.on_chain("mine", blocks=CONFIRMATIONS - 1)
    eventually(lambda: payer.get(payment_id).state == pb.Payment.SUCCEEDED)
    paid = payer.get(payment_id)
    assert (paid.outcome, paid.paid_micros, payer.available()) == (pb.Payment.EXACT, 25_000_000, 25_000_000)
    payer.on_chain("reorg", depth=CONFIRMATIONS + 1, keep_transactions=False)
    eventually(lambda: payer.get(payment_id).deposits[0].state == pb.Deposit.REVERSED)
    assert (payer.available(), payer.get(payment_id).paid_micros) == (0, 0)


def test_confirming_does_not_wait_for_the_watcher(payer: Payer) -> None:
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
def test_what_cannot_be_paid_so_is_refused_by_its_reason(
    payer: Payer, choice: dict[str, object], expected: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        payer.create(**choice)
    assert (refused.value.code(), reason(refused)) == (grpc.StatusCode.INVALID_ARGUMENT, expected)
