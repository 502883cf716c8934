"""The command create-admin."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adlib.config import Environment
from adtesting import Identities
from auth_service.credentials.model import PasswordWeak
from auth_service.provisioning import create_admin

ADMIN = "Root@Example.com"
PASSWORD = "seven purple elephants"


@pytest.fixture
def variables(tmp_path: Path, database_url: str, redis_url: str, identities: Identities) -> dict[str, str]:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    ring = tmp_path / "ring"
    ring.mkdir()
    (ring / "20260101T000000Z.pem").write_bytes(pem)
    (tmp_path / "service-key").write_bytes(pem)
    (tmp_path / "service-keys").write_text(identities.service_jwks())
    return {
        "GRPC_PORTS": "0",
        "REDIS_URL": redis_url,
        "AUTH_TARGETS": "127.0.0.1:1",
        "SERVICE_KEY_FILE": str(tmp_path / "service-key"),
        "SERVICE_KEYS_FILE": str(tmp_path / "service-keys"),
        "DATABASE_URL": database_url,
        "TOKEN_KEYS_DIR": str(ring),
        "SMTP_URL": "smtp://127.0.0.1:1",
        "MAIL_FROM": "noreply@example.com",
        "APP_URL": "https://app.example.com",
        "ADMIN_EMAIL": ADMIN,
        "ADMIN_PASSWORD": PASSWORD,
    }


def test_admin_is_created_once_and_verified(people: Any, variables: dict[str, str]) -> None:
    create_admin(Environment(variables))
    create_admin(Environment({**variables, "ADMIN_EMAIL": "another@example.com"}))
    signed = people.log_in(ADMIN, PASSWORD)
    assert signed.user.email_verified
    (membership,) = people.profile(signed.access_token).memberships
    assert (membership.role, membership.organization_name) == ("admin", "Platform")
    assert people.subjects("root@example.com") == []


def test_weak_admin_password_is_refused(variables: dict[str, str]) -> None:
    with pytest.raises(PasswordWeak):
        create_admin(Environment({**variables, "ADMIN_PASSWORD": "password1234"}))
