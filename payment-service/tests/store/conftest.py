"""A real chain, and its watcher with the real use cases on a database of its own."""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from bip_utils import Bip44, Bip44Coins

from adlib.clock import SystemClock
from adlib.db import Database
from adlib.ids import new_id
from adlib.outbox import Outbox
from adsandbox.chain.coins import CHAIN_ID, NATIVE, TOKENS
from payment_service.balances.service import BalanceService
from payment_service.bookings.service import PaymentBooking
from payment_service.checkout.service import NewPayment
from payment_service.deposits.model import Deposit
from payment_service.features import PaymentFeatures
from payment_service.payments.model import Payment
from payment_service.providers.crypto.addresses.model import Addresses
from payment_service.providers.crypto.client import Network, Node
from payment_service.providers.crypto.deposits import CryptoDeposits
from payment_service.providers.crypto.model import Chain, Coin
from payment_service.providers.crypto.refunds import CryptoRefunds
from payment_service.providers.crypto.tasks import ChainWatcher
from payment_service.providers.crypto.valuation.service import ConfiguredRates
from payment_service.providers.service import Providers

CONFIRMATIONS = 4
USD = 1_000_000
ETH_RATE = Decimal("2500.50")


@dataclass
class ChainSandbox:
    """The sandbox's chain."""

    url: str

    def ask(self, name: str, **body: object) -> dict[str, Any]:
        answer = httpx.post(f"{self.url}/sandbox/chain/{name}", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def pay(self, to: str, amount: object = "", coin: str = "USDC", **more: object) -> str:
        """Sends a transaction, which is in no block yet; returns its hash."""
        body = {"amount": str(amount)} if amount else {}
        return str(self.ask("pay", to=to, coin=coin, **body, **more)["transaction_hash"])

    def mine(self, blocks: int = 1) -> int:
        """Mines in steps, so that no response is slow; returns the head's number."""
        heads = [self.ask("mine", blocks=min(500, blocks - done))["head"] for done in range(0, blocks, 500)]
        return int(heads[-1])

    def reorg(self, depth: int, *, keep: bool) -> None:
        self.ask("reorg", depth=depth, keep_transactions=keep)

    @property
    def head(self) -> int:
        return int(httpx.get(f"{self.url}/sandbox/chain", timeout=10).json()["head"])

    def behave(self, **how: object) -> None:
        httpx.put(f"{self.url}/sandbox/behaviour", json=how).raise_for_status()


@pytest.fixture
def chain(sandboxes: Any) -> ChainSandbox:
    """The session's chain; `sandboxes` resets its behaviour before and after."""
    return ChainSandbox(str(sandboxes.chain.base_url).rstrip("/"))


@pytest.fixture
def xpub() -> str:
    """A new key for each test, since tests share the chain."""
    account = Bip44.FromSeed(os.urandom(32), Bip44Coins.ETHEREUM).Purpose().Coin().Account(0)
    return str(account.PublicKey().ToExtended())


@dataclass
class Shop:
    """An organization that pays by chain, and the platform that watches the chain."""

    db: Database
    chain: ChainSandbox
    settings: Chain
    provider: CryptoDeposits
    refunds: CryptoRefunds
    features: PaymentFeatures
    watcher: ChainWatcher
    balances: BalanceService
    organization_id: UUID = field(default_factory=uuid4)

    def open(self, micros: int = 100 * USD, token: str = "USDC", **choice: object) -> Payment:
        wanted = {"chain_id": CHAIN_ID, "token": token, **choice}
        return self.features.checkout.create(NewPayment(self.organization_id, "CRYPTO", micros, "USD", "", wanted))

    def get(self, payment: Payment) -> Payment:
        return self.features.payments.get(self.organization_id, payment.id)

    def deposits(self, payment: Payment) -> list[Deposit]:
        return list(self.features.payments.details(self.organization_id, payment.id)[1])

    def states(self, payment: Payment) -> list[str]:
        return [one.state.value for one in self.deposits(payment)]

    def poll(self) -> None:
        assert self.watcher.poll(30)

    def paid(self, payment: Payment) -> int:
        """The amount that the payment has credited."""
        return self.get(payment).paid_micros

    def balance(self) -> tuple[int, int]:
        """The available balance and the debt."""
        found = self.balances.balance(self.organization_id, "USD")
        return found.available_micros, found.debt_micros

    def another_watcher(self, **changes: Any) -> ChainWatcher:
        """A watcher as after a restart, or in another process."""
        return _watcher(replace(self.settings, **changes), self.db, self.features.booking)

    def use(self, **changes: Any) -> None:
        """Changes the chain's settings."""
        self.watcher = self.another_watcher(**changes)


def _watcher(settings: Chain, db: Database, payments: PaymentBooking) -> ChainWatcher:
    node = Node(settings.rpc_url, settings.chain_id)
    return ChainWatcher(settings, node, db, payments, ConfiguredRates(), SystemClock())


def _coins() -> list[Coin]:
    tokens = [
        Coin(coin.symbol, coin.decimals, {"USD": Decimal(1)}, coin.contract) for coin in TOKENS if coin.symbol != "FAKE"
    ]
    return [*tokens, Coin(NATIVE.symbol, NATIVE.decimals, {"USD": ETH_RATE})]


@pytest.fixture
def new_shop(own_database_url: str, chain: ChainSandbox, xpub: str) -> Iterator[Callable[..., Shop]]:
    db = Database(own_database_url, max_connections=8)

    def make(**changes: Any) -> Shop:
        settings = Chain(CHAIN_ID, "Sandbox", chain.url, CONFIRMATIONS, _coins(), start_block=chain.head + 1)
        settings, clock = replace(settings, **changes), SystemClock()
        network = Network([settings])
        provider = CryptoDeposits(network, db, Addresses(xpub), ConfiguredRates(), clock)
        refunds = CryptoRefunds(network, db)
        providers = Providers({"CRYPTO": provider}, {"CRYPTO": refunds})
        features = PaymentFeatures.build(db, Outbox("payment", clock), providers, clock, new_id)
        provider.tasks(features.booking)
        watcher = _watcher(settings, db, features.booking)
        return Shop(db, chain, settings, provider, refunds, features, watcher, BalanceService(db))

    yield make
    db.close()


@pytest.fixture
def shop(new_shop: Callable[..., Shop]) -> Shop:
    """A shop whose watcher has started."""
    made = new_shop()
    made.poll()
    return made


@pytest.fixture
def serving() -> Iterator[Callable[[bytes], str]]:
    """Starts servers that return the same body to every request."""
    servers: list[ThreadingHTTPServer] = []

    def serve(body: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def trickling() -> Iterator[str]:
    """A server that sends a byte every 20 ms and never finishes."""
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            while not stop.wait(0.02):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    return

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    stop.set()
    server.shutdown()
    server.server_close()
