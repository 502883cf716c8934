"""pixel-service as it runs, on a database of its own and with campaigns that the test names."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID, uuid4

import grpc
import httpx
import pytest
import redis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adctl import ports
from adctl.pytest_servers import FreshDatabase
from adlib.bus import RedisBus
from adlib.clock import SystemClock
from adlib.db import Database, migrate
from adlib.rpc import Settings
from adlib.service import Common, connect_redis
from adlib.testing import FakeAccess, Identities, eventually, running, stub_channel
from pixel_service.__main__ import MIGRATIONS, World, assemble
from pixel_service.clients.campaign import FakeCampaigns
from pixel_service.config import Config
from pixel_service.pixels import store
from pixel_service.pixels.model import Pixel

KEY = b"a key for tests, of 32 characters"
TARGET = "https://shop.example/landing?from=ad#offer"

AddPixel = Callable[..., Pixel]


def _prepare(url: str) -> None:
    migrate(url, *MIGRATIONS)


@pytest.fixture
def database_url(fresh_database: FreshDatabase) -> str:
    return fresh_database("pixel", _prepare)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    yield made
    made.close()


@pytest.fixture
def shared(redis_url: str) -> Iterator[redis.Redis]:
    made = connect_redis(redis_url)
    yield made
    made.close()


@pytest.fixture
def bus(shared: redis.Redis) -> RedisBus:
    return RedisBus(shared, stuck_after_ms=200)


@pytest.fixture
def identities() -> Identities:
    return Identities()


@pytest.fixture
def access() -> FakeAccess:
    return FakeAccess()


@pytest.fixture
def campaigns() -> FakeCampaigns:
    return FakeCampaigns()


@pytest.fixture
def add_pixel(db: Database) -> AddPixel:
    """Stores a pixel of a new campaign of a new organization, with the fields that are given."""

    def add(**fields: object) -> Pixel:
        made: dict[str, object] = {
            "id": uuid4(),
            "organization_id": uuid4(),
            "campaign_id": uuid4(),
            "name": "landing page",
            "goals": ("conversion", "signup"),
            "target_url": TARGET,
            "currency_code": "USD",
            "created_at": SystemClock().now(),
        }
        pixel = Pixel(**{**made, **fields})  # type: ignore[arg-type]  # the fields are the dataclass's own
        with db.transaction() as tx:
            store.add(tx, pixel)
        return pixel

    return add


@pytest.fixture
def config(database_url: str, redis_url: str, identities: Identities) -> Config:
    common = Common(
        rpc=Settings(service="pixel-service", ports=[0]),
        redis_url=redis_url,
        auth_targets="",
        identity=identities.service("pixel-service"),
        service_keys=identities.service_jwks(),
    )
    return Config(
        common=common, database_url=database_url, campaign_targets="", http_port=0,
        public_url="https://ads.example", signing_key=KEY, trusted_proxy=True,
    )  # fmt: skip


@pytest.fixture
def channel(
    config: Config, db: Database, bus: RedisBus, identities: Identities, access: FakeAccess, campaigns: FakeCampaigns
) -> Iterator[grpc.Channel]:
    world = World(db, bus, campaigns, identities.verifier(), access, SystemClock())
    with running(assemble(world, config, None)) as server, stub_channel(server) as channel:
        yield channel


class TrackingServer:
    """`python -m pixel_service` with its arguments, as a process of its own."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.port = int(environment["HTTP_PORT"])
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = environment
        self._arguments = arguments
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "pixel_service", *self._arguments]
        process = subprocess.Popen(command, env=self._environment, stdin=subprocess.PIPE)
        eventually(self.answers, within_s=20)
        return process

    def answers(self) -> bool:
        return httpx.get(f"{self.url}/track/health", timeout=1).json() == {"status": "ok"}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.process = self._start()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)


StartServer = Callable[..., TrackingServer]


@pytest.fixture
def environment(database_url: str, redis_url: str, identities: Identities, tmp_path: Path) -> dict[str, str]:
    """What the service is told from outside."""
    key, keys = tmp_path / "service.pem", tmp_path / "services.json"
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key.write_bytes(pem)
    identities.service("pixel-service")
    keys.write_text(identities.service_jwks())
    return {
        "PATH": os.environ["PATH"],
        "GRPC_PORTS": str(ports.free_port()),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SERVICE_KEY_FILE": str(key),
        "SERVICE_KEYS_FILE": str(keys),
        "AUTH_TARGETS": "127.0.0.1:1",
        "CAMPAIGN_TARGETS": "127.0.0.1:1",
        "HTTP_PORT": str(ports.free_port()),
        "PUBLIC_URL": "https://ads.example",
        "CLICK_SIGNING_KEY": KEY.decode(),
    }


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[StartServer]:
    """Starts the service with these arguments and changes to its environment; it is stopped after the test."""
    with ExitStack() as stack:

        def starting(*arguments: str, **changes: str) -> TrackingServer:
            server = TrackingServer(environment | changes, *arguments)
            stack.callback(server.stop)
            return server

        yield starting


@pytest.fixture
def tracking(start: StartServer) -> TrackingServer:
    """The tracking URLs alone."""
    return start("tracking")


@pytest.fixture
def organization_id() -> UUID:
    return uuid4()
