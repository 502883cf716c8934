"""payment-service in its production configuration, on its own database, with sandboxes of Stripe, Wise and a chain."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID, uuid4

import grpc
import httpx
import psycopg
import pytest
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.options.v1.options_pb2 import Permission
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adctl.embedded.valkey import DATABASES
from adlib import service
from adlib.bus import RedisBus
from adlib.clock import Clock
from adlib.db import Database, migrate
from adlib.rpc import Settings
from adlib.service import Authorization, CommonSettings, Dependencies
from adtesting import FakeAccess, Identities, running, stub_channel
from adtesting.payment import FakeOrganizations, Gateway
from adtesting.pytest_servers import Addresses, FreshDatabase
from payment_service.__main__ import MIGRATIONS, build
from payment_service.config import Config
from payment_service.providers.settings import ProviderSettings
from payment_service.providers.stripe.settings import StripeSettings
from payment_service.providers.wise.settings import WiseSettings

STRIPE_KEY = "sk_test_payment"
WEBHOOK_SECRET = "whsec_payment"
WISE_TOKEN = "token-of-the-tests"
WISE_PROFILE = 4_000_001
SANDBOX_PORTS = (
    "STRIPE_SANDBOX",
    "WISE_SANDBOX",
    "CHAIN_SANDBOX",
)


def _prepare(url: str) -> None:
    migrate(url, *MIGRATIONS)


@pytest.fixture(scope="session")
def database_url(fresh_session_database: FreshDatabase) -> str:
    """One database for all tests of a pytest worker; each test uses its own ids."""
    return fresh_session_database("payment", _prepare)


@pytest.fixture
def own_database_url(fresh_database: FreshDatabase) -> str:
    return fresh_database("payment_own", _prepare)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    database = Database(database_url, max_connections=16)
    yield database
    database.close()


@pytest.fixture
def sql(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection for raw SQL."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def outer_gateway() -> Iterator[Gateway]:
    gateway = Gateway()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(gateway.take(self.path, body, headers))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    gateway.url = f"http://127.0.0.1:{server.server_port}"
    yield gateway
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Sandboxes:
    """Stripe, Wise and a chain, with their customers and banks."""

    stripe: httpx.Client
    wise: httpx.Client
    chain: httpx.Client

    def pay(self, payment_id: str, outcome: str = "succeed") -> None:
        body = {"payment_id": payment_id, "outcome": outcome}
        self.stripe.post("/sandbox/pay", json=body).raise_for_status()

    def behave(self, who: httpx.Client, **how: object) -> None:
        who.put("/sandbox/behaviour", json=how).raise_for_status()

    def intents(self) -> list[dict[str, object]]:
        found = self.stripe.get("/v1/payment_intents", params={"limit": 100}).raise_for_status().json()
        return list(found["data"])


@pytest.fixture(scope="session")
def wise_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="session")
def running_sandboxes(
    outer_gateway: Gateway, wise_key: rsa.RSAPrivateKey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sandboxes]:
    folder = tmp_path_factory.mktemp("sandboxes")
    key_file = folder / "wise.pem"
    key_file.write_bytes(wise_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    environment = {
        **{f"{name}_PORT": "0" for name in SANDBOX_PORTS},
        "CHAIN_SANDBOX_BLOCK_S": "0",  # tests mine blocks
        "SANDBOX_STATE_DIR": str(folder / "state"),
        "GATEWAY_URL": outer_gateway.url,
        "STRIPE_API_KEY": STRIPE_KEY,
        "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "WISE_API_TOKEN": WISE_TOKEN,
        "WISE_PROFILE_ID": str(WISE_PROFILE),
        "WISE_WEBHOOK_PRIVATE_KEY_FILE": str(key_file),
    }
    log = (folder / "log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "adsandbox"], env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "listening" in line, line
    drain = threading.Thread(target=lambda: log.writelines(process.stderr or ()))
    drain.start()
    ports: dict[str, int] = json.loads(json.loads(line)["message"].removeprefix("listening "))

    def client(name: str, token: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{ports[name]}", headers=headers, timeout=10, trust_env=False)

    with ExitStack() as open_clients:
        named = (("stripe-sandbox", STRIPE_KEY), ("wise-sandbox", WISE_TOKEN), ("chain-sandbox", "unused"))
        yield Sandboxes(*(open_clients.enter_context(client(name, token)) for name, token in named))
    process.terminate()
    process.wait(10)
    drain.join()
    log.close()


@pytest.fixture
def sandboxes(running_sandboxes: Sandboxes) -> Iterator[Sandboxes]:
    """The sandboxes, with their default behaviour restored afterwards."""
    yield running_sandboxes
    for client in (running_sandboxes.stripe, running_sandboxes.wise, running_sandboxes.chain):
        client.delete("/sandbox/behaviour").raise_for_status()


@pytest.fixture(scope="session")
def identities() -> Identities:
    made = Identities()
    for name in ("campaign-service", "publisher-service", "operator", "scheduler", "payment-service"):
        made.service(name)
    return made


@pytest.fixture(scope="session")
def access() -> FakeAccess:
    return FakeAccess()


@pytest.fixture(scope="session")
def organizations() -> FakeOrganizations:
    return FakeOrganizations()


@pytest.fixture(scope="session")
def service_redis_url(server_addresses: Addresses, worker_name: str) -> str:
    """The Redis database that `redis_url` empties before each test that uses it."""
    number = 1 + int(worker_name[2:]) % (DATABASES - 1) if worker_name.startswith("gw") else 0
    return server_addresses["redis"].rsplit("/", 1)[0] + f"/{number}"


@pytest.fixture(scope="session")
def config(
    database_url: str,
    service_redis_url: str,
    identities: Identities,
    running_sandboxes: Sandboxes,
    wise_key: rsa.RSAPrivateKey,
) -> Config:
    common = CommonSettings(
        rpc=Settings(service="payment-service", ports=[0]),
        redis_url=service_redis_url,
        auth_targets="",
        identity=identities.service("payment-service"),
        service_keys=identities.service_jwks(),
    )
    stripe_url, wise_url = (
        str(client.base_url).rstrip("/") for client in (running_sandboxes.stripe, running_sandboxes.wise)
    )
    by_name = {
        "STRIPE": StripeSettings(STRIPE_KEY, WEBHOOK_SECRET, stripe_url),
        "WISE": WiseSettings(wise_url, WISE_TOKEN, WISE_PROFILE, wise_key.public_key()),
    }
    providers = ProviderSettings(by_name, deposits=("STRIPE", "WISE"), payouts="WISE")
    return Config(common=common, database_url=database_url, providers=providers)


ServePayments = Callable[..., AbstractContextManager[grpc.Channel]]


@pytest.fixture(scope="session")
def serve_payments(identities: Identities, access: FakeAccess, organizations: FakeOrganizations) -> ServePayments:
    """Serves payment-service with a configuration, and yields a channel to it."""

    @contextmanager
    def serve(config: Config, provider_clock: Clock | None = None) -> Iterator[grpc.Channel]:
        db, redis = Database(config.database_url), service.connect_redis(config.common.redis_url)
        own = Dependencies(
            authorization=Authorization(identities.verifier(), access),
            bus=RedisBus(redis),
            database=db,
            closing=[db.close, redis.close],
        )
        clock = provider_clock or own.clock
        providers = config.providers.registry(db, clock)
        own.closing.append(providers.close)
        with running(build(own, config, providers, organizations)) as server, stub_channel(server) as channel:
            yield channel

    return serve


@pytest.fixture(scope="session")
def channel(config: Config, serve_payments: ServePayments) -> Iterator[grpc.Channel]:
    with serve_payments(config) as served:
        yield served


@pytest.fixture
def gateway(outer_gateway: Gateway, channel: grpc.Channel, sql: psycopg.Connection) -> Iterator[Gateway]:
    """The gateway, for a test that starts without open payments and payouts; the ledger is retained."""
    sql.execute("UPDATE payments SET is_closed = TRUE")
    sql.execute("DELETE FROM payouts")
    outer_gateway.received.clear()
    outer_gateway.open = True
    outer_gateway.stub = payment_pb2_grpc.WebhookServiceStub(channel)
    yield outer_gateway
    outer_gateway.stub = None


@dataclass
class Customer:
    """An organization's member who may pay, with the service's stubs."""

    organization_id: UUID
    headers: list[tuple[str, str]]
    payments: payment_pb2_grpc.PaymentServiceStub
    billing: payment_pb2_grpc.BillingServiceStub

    def create(self, amount_micros: int = 500_000_000, key: str = "", **changes: object) -> pb.CreatePaymentResponse:
        fields: dict[str, object] = {"amount_micros": amount_micros, "currency_code": "USD", "provider": pb.STRIPE}
        metadata = [*self.headers, ("idempotency-key", key)] if key else self.headers
        return self.payments.CreatePayment(pb.CreatePaymentRequest(**{**fields, **changes}), metadata=metadata)

    def get(self, payment_id: str) -> pb.Payment:
        return self.payments.GetPayment(pb.GetPaymentRequest(payment_id=payment_id), metadata=self.headers)

    def confirm(self, payment_id: str) -> pb.Payment:
        return self.payments.ConfirmPayment(pb.ConfirmPaymentRequest(payment_id=payment_id), metadata=self.headers)

    def balance(self, currency_code: str = "") -> pb.Balance:
        return self.billing.GetBalance(pb.GetBalanceRequest(currency_code=currency_code), metadata=self.headers)

    def statement(self, page_size: int = 0, **asked: object) -> list[pb.StatementLine]:
        """The lines of all pages."""
        lines: list[pb.StatementLine] = []
        request = pb.GetStatementRequest(page_size=page_size, **asked)
        while True:
            answer = self.billing.GetStatement(request, metadata=self.headers)
            lines += answer.lines
            request.page_token = answer.next_page_token
            if not answer.next_page_token:
                return lines
            assert len(answer.lines) == (page_size or 50)

    def figures(self) -> tuple[int, int, int]:
        balance = self.balance()
        return balance.available_micros, balance.held_micros, balance.spent_micros


@pytest.fixture
def new_customer(channel: grpc.Channel, identities: Identities, access: FakeAccess):
    def make() -> Customer:
        person, organization_id = identities.person(), uuid4()
        access.grant(
            person, organization_id, Organization.ADVERTISER, Permission.PAYMENTS_CREATE, Permission.PAYMENTS_READ
        )
        return Customer(
            organization_id,
            identities.headers(person, organization_id),
            payment_pb2_grpc.PaymentServiceStub(channel),
            payment_pb2_grpc.BillingServiceStub(channel),
        )

    return make


@pytest.fixture
def customer(new_customer) -> Customer:
    return new_customer()


@pytest.fixture
def ledger(channel: grpc.Channel) -> payment_pb2_grpc.LedgerServiceStub:
    return payment_pb2_grpc.LedgerServiceStub(channel)


@pytest.fixture
def sound(ledger: payment_pb2_grpc.LedgerServiceStub, identities: Identities):
    """Whether VerifyLedger finds no difference."""

    def add_up() -> bool:
        answer = ledger.VerifyLedger(pb.VerifyLedgerRequest(), metadata=identities.service_headers("operator"))
        faults = ("sum_micros", "difference_micros", "overdrawn", "payments_differing")
        return bool(answer.currencies) and not any(getattr(one, name) for one in answer.currencies for name in faults)

    return add_up


@pytest.fixture
def settle(channel: grpc.Channel, identities: Identities, sql: psycopg.Connection):
    """Runs the reconciliation job as if a minute had passed."""
    jobs = payment_pb2_grpc.PaymentJobsServiceStub(channel)

    def run():
        sql.execute("UPDATE payments SET created_at = created_at - interval '2 min', checked_at = '2020-01-01'")
        sql.execute("UPDATE payouts SET updated_at = updated_at - interval '2 min'")
        return jobs.SettlePayments(pb.SettlePaymentsRequest(), metadata=identities.service_headers("scheduler"))

    return run
