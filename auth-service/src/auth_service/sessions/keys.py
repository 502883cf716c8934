"""The keys that access tokens and links are signed with: a folder of files, each named by the time it signs from."""

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
_NAME = "%Y%m%dT%H%M%SZ"
_READ_EVERY_S = 2.0
# Longer than an access token lives that the key signed last.
_LISTED_AFTER = timedelta(minutes=30)

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class _Key:
    signs_from: datetime
    kid: str
    private: Ed25519PrivateKey
    public: Mapping[str, str]
    verifying: jwt.PyJWK


class KeyRing:
    """Ed25519 keys (PKCS8, PEM) in files such as 20261122T150000Z.pem; a new file rotates them, without a restart.

    A key is listed as soon as its file is there, signs from the time in its name until the next one does, and stays
    listed for half an hour after that. Links live longer, and are verified with every key whose file is still there.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        """ConfigurationError where no key signs now."""
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._keys = _read(folder)
        self._read_at = time.monotonic()
        if not self._begun(self._keys):
            raise ConfigurationError(f"TOKEN_KEYS_DIR names {folder}, where no key signs yet; {_HINT}")

    def sign(self, claims: Mapping[str, object]) -> str:
        """A token with these claims, signed with the newest key whose time has come."""
        keys = self._current()
        key = keys[self._begun(keys) - 1]
        return identity.sign(key.private, key.kid, claims)

    def get(self, kid: str) -> jwt.PyJWK | None:
        """The key with this id, if it is listed."""
        return next((key.verifying for key in self._listed() if key.kid == kid), None)

    def any(self, kid: str) -> jwt.PyJWK | None:
        """The key with this id, however old it is."""
        return next((key.verifying for key in self._current() if key.kid == kid), None)

    def jwks(self) -> str:
        """The listed keys as a JWKS document (RFC 7517)."""
        return json.dumps({"keys": [key.public for key in self._listed()]})

    def _begun(self, keys: list[_Key]) -> int:
        """How many of the keys have begun to sign; the last of them signs."""
        return bisect_right(keys, self._clock.now(), key=lambda key: key.signs_from)

    def _listed(self) -> list[_Key]:
        keys = self._current()
        over = self._clock.now() - _LISTED_AFTER
        # The key before the first one that took over less than half an hour ago.
        return keys[max(0, bisect_right(keys, over, key=lambda key: key.signs_from) - 1) :]

    def _current(self) -> list[_Key]:
        with self._lock:
            if time.monotonic() - self._read_at >= _READ_EVERY_S:
                self._read_at = time.monotonic()
                try:
                    fresh = _read(self._folder)
                except ConfigurationError as error:
                    # A file that is being written, perhaps: what was read before goes on.
                    _log.error("token_keys_unreadable", error=str(error))
                else:
                    if self._begun(fresh):
                        self._keys = fresh
                    else:
                        _log.error("token_keys_missing", folder=str(self._folder))
            return self._keys


_HINT = "Ed25519 keys (PKCS8, PEM) are needed, named by the UTC time from which they sign, such as 20261122T150000Z.pem"


def _read(folder: Path) -> list[_Key]:
    """The folder's keys, the one that signs first coming first; ConfigurationError."""
    keys = []
    for path in folder.glob("*.pem"):
        try:
            signs_from = datetime.strptime(path.stem, _NAME).replace(tzinfo=UTC)
            keys.append(_key(signs_from, identity.private_key(path.read_text())))
        except (ValueError, OSError) as error:
            raise ConfigurationError(f"TOKEN_KEYS_DIR names {path}, which is no key: {error}; {_HINT}") from None
    return sorted(keys, key=lambda key: key.signs_from)


def _key(signs_from: datetime, private: Ed25519PrivateKey) -> _Key:
    members = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(private.public_key()))
    public = {**members, "kid": _thumbprint(members), "use": "sig", "alg": ALGORITHM}
    return _Key(signs_from, public["kid"], private, public, jwt.PyJWK(public, algorithm=ALGORITHM))


def _thumbprint(jwk: Mapping[str, str]) -> str:
    """RFC 7638: the hash of the key's required members."""
    members = json.dumps({name: jwk[name] for name in ("crv", "kty", "x")}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest()).rstrip(b"=").decode()
