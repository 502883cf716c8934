"""The service as a process: a shared one for the tracking URLs, and one per test that stops or kills it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest
import redis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adctl import ports
from adctl.embedded.valkey import ValkeyServer
from adlib.db import migrate
from adtesting import Identities, eventually
from adtesting.pytest_servers import FreshDatabase
from pixel_service.__main__ import MIGRATIONS


class TrackingServer:
    """`python -m pixel_service` with these arguments, as a process."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.port = int(environment["HTTP_PORT"])
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = environment
        self._arguments = arguments
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "pixel_service", *self._arguments]
        process = subprocess.Popen(command, env=self._environment, stdin=subprocess.PIPE)
        try:
            # Two interpreters start, on cores that other tests use too.
            eventually(self.is_healthy, within_s=60)
        except AssertionError:
            process.kill()
            process.wait()
            raise
        return process

    def is_healthy(self) -> bool:
        return httpx.get(f"{self.url}/track/health", timeout=1).json() == {"status": "ok"}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)


StartServer = Callable[..., TrackingServer]


@pytest.fixture(scope="session")
def database_url(fresh_session_database: FreshDatabase) -> str:
    return fresh_session_database("pixel", lambda url: migrate(url, *MIGRATIONS) and None)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path_factory.mktemp("valkey"), fsync=False) as server:
        yield server


@pytest.fixture
def redis_url(valkey: ValkeyServer) -> str:
    with redis.Redis.from_url(valkey.url()) as client:
        client.flushdb()
    return valkey.url()


@pytest.fixture(scope="session")
def environment(database_url: str, valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The service's environment variables."""
    identities, folder = Identities(), tmp_path_factory.mktemp("keys")
    key, keys = folder / "service.pem", folder / "services.json"
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key.write_bytes(pem)
    identities.service("pixel-service")
    keys.write_text(identities.service_jwks())
    return {
        "PATH": os.environ["PATH"],
        "GRPC_PORTS": str(ports.free_port()),
        "DATABASE_URL": database_url,
        "REDIS_URL": valkey.url(),
        "SERVICE_KEY_FILE": str(key),
        "SERVICE_KEYS_FILE": str(keys),
        "AUTH_TARGETS": "127.0.0.1:1",
        "CAMPAIGN_TARGETS": "127.0.0.1:1",
        "HTTP_PORT": str(ports.free_port()),
        "PUBLIC_URL": "https://ads.example",
        "CLICK_SIGNING_KEY": "a key for tests, of 32 characters",
    }


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[StartServer]:
    """Starts the service with these arguments and changes of its environment, and stops it after the test."""
    with ExitStack() as stack:

        def starting(*arguments: str, **changes: str) -> TrackingServer:
            fresh = {name: str(ports.free_port()) for name in ("GRPC_PORTS", "HTTP_PORT")}
            server = TrackingServer(environment | fresh | changes, *arguments)
            stack.callback(server.stop)
            return server

        yield starting


@pytest.fixture(scope="session")
def shared_tracking(environment: dict[str, str]) -> Iterator[TrackingServer]:
    server = TrackingServer(environment, "tracking")
    yield server
    server.stop()


@pytest.fixture
def tracking(shared_tracking: TrackingServer, redis_url: str) -> TrackingServer:
    """The tracking URLs without the gRPC server, with an empty bus."""
    return shared_tracking
