"""Settings from the environment."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adlib.config import ConfigurationError, Environment
from publisher_service.config import read


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "keys.json").write_text('{"keys": []}')
    return {
        "GRPC_PORTS": "5001,5002",
        "DATABASE_URL": "postgresql://somewhere/publisher",
        "REDIS_URL": "redis://somewhere/0",
        "AUTH_TARGETS": "127.0.0.1:1",
        "PAYMENT_TARGETS": "127.0.0.1:2",
        "SERVICE_KEY_FILE": str(tmp_path / "key.pem"),
        "SERVICE_KEYS_FILE": str(tmp_path / "keys.json"),
    }


def test_default_share_is_70_percent(variables: dict[str, str]) -> None:
    assert read(Environment(variables)).default_share_basis_points == 7000
    assert read(Environment(variables | {"DEFAULT_SHARE_BASIS_POINTS": "6500"})).default_share_basis_points == 6500


@pytest.mark.parametrize(("name", "value"), [("DEFAULT_SHARE_BASIS_POINTS", "10001"), ("PAYMENT_TARGETS", "")])
def test_missing_or_invalid_setting_is_named(variables: dict[str, str], name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        read(Environment(variables | {name: value}))
