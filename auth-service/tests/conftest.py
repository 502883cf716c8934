"""auth-service on a database of its own."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adlib.clock import SystemClock
from adlib.db import migrate
from adlib.rpc import Settings
from adlib.service import CommonSettings
from adtesting import Identities, running, stub_channel
from adtesting.auth import FakeFirebase, FakeMailer
from adtesting.pytest_servers import FreshDatabase, ReusedDatabase
from auth_service.__main__ import from_config
from auth_service.config import Config
from auth_service.provisioning import MIGRATIONS, seed_roles
from auth_service.signing_keys import KeyRing


def _prepare(url: str) -> None:
    migrate(url, *MIGRATIONS)
    seed_roles(url)


@pytest.fixture
def database_url(reused_database: ReusedDatabase) -> str:
    return reused_database("auth", _prepare)


@pytest.fixture(scope="session")
def shared_database_url(fresh_session_database: FreshDatabase) -> str:
    """One database for all tests that create their own users and organizations and read no others."""
    return fresh_session_database("auth_shared", _prepare)


@pytest.fixture
def identities() -> Identities:
    made = Identities("auth-service")
    for name in ("campaign-service", "payment-service"):
        made.service(name)
    return made


@pytest.fixture
def mailer() -> FakeMailer:
    return FakeMailer()


@pytest.fixture
def firebase() -> FakeFirebase:
    return FakeFirebase()


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    folder = tmp_path / "token-keys"
    folder.mkdir()
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "20260101T000000Z.pem").write_bytes(pem)
    return KeyRing(folder, SystemClock())


@pytest.fixture
def config(
    database_url: str,
    redis_url: str,
    identities: Identities,
    keys: KeyRing,
    mailer: FakeMailer,
    firebase: FakeFirebase,
) -> Config:
    common = CommonSettings(
        rpc=Settings(service="auth-service", ports=[0]),
        redis_url=redis_url,
        auth_targets="",
        identity=identities.service("auth-service"),
        service_keys=identities.service_jwks(),
    )
    return Config(
        common=common,
        database_url=database_url,
        keys=keys,
        mailer=mailer,
        app_url="https://app.example.com",
        firebase=firebase,
    )


@pytest.fixture
def channel(config: Config) -> Iterator[grpc.Channel]:
    with running(from_config(config)) as server, stub_channel(server) as channel:
        yield channel
