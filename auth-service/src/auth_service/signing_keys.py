"""The keys that sign access tokens and links: files in a folder, each named by the time from which it signs."""

import base64
import hashlib
import json
import threading
import time
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from adlib import identity
from adlib.clock import Clock
from adlib.config import ConfigurationError
from adlib.telemetry import logger

ALGORITHM = "EdDSA"
_FILE_NAME = "%Y%m%dT%H%M%SZ"
_RELOAD_INTERVAL_S = 2.0
# Longer than the last access token of a replaced key is valid.
_LISTED_AFTER_REPLACEMENT = timedelta(minutes=30)

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class _Key:
    signs_from: datetime
    kid: str
    private: Ed25519PrivateKey
    public: Mapping[str, str]
    verifying: jwt.PyJWK


class KeyRing:
    """Ed25519 keys (PKCS8, PEM) in files such as 20261122T150000Z.pem; a new file rotates them without a restart.

    A key is in the JWKS as soon as its file exists, signs from the time in its name until the next key's, and stays in
    the JWKS for half an hour after that. Links live longer and are verified with every key whose file exists.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        """ConfigurationError if no key may sign yet."""
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._keys = _read(folder)
        self._loaded_at = time.monotonic()
        if not self._count_active(self._keys):
            raise ConfigurationError(f"TOKEN_KEYS_DIR names {folder}, where no key may sign yet; {_HINT}")

    def sign(self, claims: Mapping[str, object]) -> str:
        """A token with these claims, signed with the newest key that may sign."""
        keys = self._current()
        key = keys[self._count_active(keys) - 1]
        return identity.sign(key.private, key.kid, claims)

    def get(self, kid: str) -> jwt.PyJWK | None:
        """The key with this id, if it is in the JWKS."""
        return next((key.verifying for key in self._listed() if key.kid == kid), None)

    def get_any(self, kid: str) -> jwt.PyJWK | None:
        """The key with this id, in the JWKS or not."""
        return next((key.verifying for key in self._current() if key.kid == kid), None)

    def jwks(self) -> str:
        """The JWKS document (RFC 7517)."""
        return json.dumps({"keys": [key.public for key in self._listed()]})

    def _count_active(self, keys: list[_Key]) -> int:
        """The number of keys that may sign by now; the last of them does."""
        return bisect_right(keys, self._clock.now(), key=lambda key: key.signs_from)

    def _listed(self) -> list[_Key]:
        keys = self._current()
        cutoff = self._clock.now() - _LISTED_AFTER_REPLACEMENT
        # Starts at the last key that signed before the cutoff: it was replaced after it, or not at all.
        return keys[max(0, bisect_right(keys, cutoff, key=lambda key: key.signs_from) - 1) :]

    def _current(self) -> list[_Key]:
        with self._lock:
            if time.monotonic() - self._loaded_at >= _RELOAD_INTERVAL_S:
                self._loaded_at = time.monotonic()
                try:
                    loaded = _read(self._folder)
                except ConfigurationError as error:
                    # A file may be incomplete; the keys that were loaded before stay in use.
                    _log.error("token_keys_unreadable", error=str(error))
                else:
                    if self._count_active(loaded):
                        self._keys = loaded
                    else:
                        _log.error("token_keys_missing", folder=str(self._folder))
            return self._keys


_HINT = "Ed25519 keys (PKCS8, PEM) are needed, named by the UTC time from which they sign, such as 20261122T150000Z.pem"


def _read(folder: Path) -> list[_Key]:
    """The folder's keys by the time from which they sign; ConfigurationError."""
    keys = []
    for path in folder.glob("*.pem"):
        try:
            signs_from = datetime.strptime(path.stem, _FILE_NAME).replace(tzinfo=UTC)
            keys.append(_key(signs_from, identity.private_key(path.read_text())))
        except (ValueError, OSError) as error:
            raise ConfigurationError(f"TOKEN_KEYS_DIR names {path}, which is not a key: {error}; {_HINT}") from None
    return sorted(keys, key=lambda key: key.signs_from)


def _key(signs_from: datetime, private: Ed25519PrivateKey) -> _Key:
    members = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(private.public_key()))
    public = {**members, "kid": _thumbprint(members), "use": "sig", "alg": ALGORITHM}
    return _Key(signs_from, public["kid"], private, public, jwt.PyJWK(public, algorithm=ALGORITHM))


def _thumbprint(jwk: Mapping[str, str]) -> str:
    """RFC 7638: the hash of the key's required members."""
    members = json.dumps({name: jwk[name] for name in ("crv", "kty", "x")}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest()).rstrip(b"=").decode()
