"""Settings with which auth-service refuses to start."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adlib.config import ConfigurationError, Environment
from adtesting import Identities
from auth_service import config
from auth_service.credentials.firebase.client import NoFirebase


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "20260101T000000Z.pem").write_bytes(pem)
    (tmp_path / "service-key").write_bytes(pem)
    (tmp_path / "service-keys").write_text(Identities("auth-service").service_jwks())
    return {
        "GRPC_PORTS": "50051",
        "REDIS_URL": "redis://localhost",
        "AUTH_TARGETS": "localhost:50051",
        "SERVICE_KEY_FILE": str(tmp_path / "service-key"),
        "SERVICE_KEYS_FILE": str(tmp_path / "service-keys"),
        "DATABASE_URL": "postgresql://localhost/auth",
        "TOKEN_KEYS_DIR": str(tmp_path),
        "SMTP_URL": "smtp://localhost",
        "MAIL_FROM": "noreply@example.com",
        "APP_URL": "https://app.example.com",
    }


def test_threads_remain_when_all_hashing_places_are_taken(variables: dict[str, str]) -> None:
    read = config.read(Environment(variables))
    assert read.common.rpc.threads == 64
    assert isinstance(read.firebase, NoFirebase)


@pytest.mark.parametrize("name", ["TOKEN_KEYS_DIR", "SMTP_URL", "MAIL_FROM", "APP_URL", "DATABASE_URL"])
def test_missing_setting_is_named(variables: dict[str, str], name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        config.read(Environment({key: value for key, value in variables.items() if key != name}))


@pytest.mark.parametrize("url", ["app.example.com", "ftp://app.example.com", "https://"])
def test_app_url_is_required(variables: dict[str, str], url: str) -> None:
    with pytest.raises(ConfigurationError, match="APP_URL"):
        config.read(Environment({**variables, "APP_URL": url}))


@pytest.mark.parametrize("name", ["FIREBASE_AUTH_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST"])
def test_production_refuses_emulators(variables: dict[str, str], name: str) -> None:
    emulated = {**variables, name: "127.0.0.1:9099"}
    assert config.read(Environment(emulated))
    with pytest.raises(ConfigurationError, match=name):
        config.read(Environment({**emulated, "ENVIRONMENT": "production"}))
