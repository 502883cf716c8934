"""The key ring, as files are added and removed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adlib.clock import FixedClock
from adlib.config import ConfigurationError
from adlib.identity import parse_jwks
from adtesting import eventually
from auth_service.signing_keys import KeyRing

NOW = datetime(2026, 2, 1, tzinfo=UTC)


def put(folder: Path, signs_from: datetime) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{signs_from:%Y%m%dT%H%M%SZ}.pem").write_bytes(pem)


def signer(ring: KeyRing) -> str:
    token = ring.sign({"sub": "x"})
    kid = str(jwt.get_unverified_header(token)["kid"])
    key = ring.get(kid)
    assert key is not None
    assert jwt.decode(token, key, algorithms=["EdDSA"]) == {"sub": "x"}
    return kid


def test_signing_key_is_in_jwks_before_and_half_an_hour_after_it_signs(tmp_path: Path) -> None:
    put(tmp_path, NOW - timedelta(days=30))
    clock = FixedClock(NOW)
    ring = KeyRing(tmp_path, clock)
    old = signer(ring)
    assert set(parse_jwks(ring.jwks())) == {old}

    put(tmp_path, NOW + timedelta(minutes=10))
    assert eventually(lambda: len(parse_jwks(ring.jwks())) == 2)
    assert signer(ring) == old

    clock.at = NOW + timedelta(minutes=10)
    new = signer(ring)
    assert new != old
    clock.at = NOW + timedelta(minutes=39, seconds=59)
    assert set(parse_jwks(ring.jwks())) == {old, new}
    clock.at = NOW + timedelta(minutes=40)
    assert set(parse_jwks(ring.jwks())) == {new}
    assert ring.get(old) is None
    # A link that it signed is valid as long as its file exists.
    assert ring.get_any(old) is not None
    assert ring.get_any("unknown") is None


def test_unreadable_key_file_leaves_loaded_keys_in_use(tmp_path: Path) -> None:
    put(tmp_path, NOW - timedelta(days=1))
    ring = KeyRing(tmp_path, FixedClock(NOW))
    kid = signer(ring)
    (tmp_path / "20260301T000000Z.pem").write_text("half a k")
    put(tmp_path, NOW - timedelta(hours=1))
    (tmp_path / "20260301T000000Z.pem").unlink()
    assert eventually(lambda: signer(ring) != kid)
    (tmp_path / "nonsense.pem").write_text("half a k")
    for path in tmp_path.glob("2026*.pem"):
        path.unlink()
    newest = signer(ring)
    ring._loaded_at = float("-inf")
    assert signer(ring) == newest


def ec_key(folder: Path) -> None:
    pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "20260101T000000Z.pem").write_bytes(pem)


@pytest.mark.parametrize(
    "prepare",
    [
        lambda _folder: None,
        lambda folder: put(folder, NOW + timedelta(seconds=1)),
        lambda folder: (folder / "key.pem").write_text("x"),
        lambda folder: (folder / "20260101T000000Z.pem").write_text("x"),
        ec_key,
    ],
    ids=["empty", "future", "name", "content", "kind"],
)
def test_folder_without_active_key_is_a_configuration_error(tmp_path: Path, prepare: Callable[[Path], object]) -> None:
    prepare(tmp_path)
    with pytest.raises(ConfigurationError, match="TOKEN_KEYS_DIR"):
        KeyRing(tmp_path, FixedClock(NOW))
    with pytest.raises(ConfigurationError, match="TOKEN_KEYS_DIR"):
        KeyRing(tmp_path / "missing", FixedClock(NOW))
