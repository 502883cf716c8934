"""Identities of callers: people, with tokens signed by auth-service; services, with tokens they sign; and API keys.

Tokens are JSON Web Tokens (RFC 7519) signed with Ed25519 (RFC 8037).
"""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Protocol
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from typing_extensions import override

from adlib.errors import AppError, TokenInvalid
from adlib.telemetry import logger

AUDIENCE = "adplatform"
USER_ISSUER = "adplatform-auth"
SERVICE_ISSUER = "adplatform-services"
_ALGORITHM = "EdDSA"
_SERVICE_TOKEN_TTL_S = 300
_RENEW_BEFORE_S = 120
_MAX_CACHED_TOKENS = 10_000

# The session id of a person who calls with an API key.
NO_SESSION = UUID(int=0)

KeyLookup = Callable[[str], jwt.PyJWK | None]
"""Finds a public key by its kid."""

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in person, from their access token."""

    user_id: UUID
    session_id: UUID = NO_SESSION


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key that is not revoked; `user_id` is its creator, `permissions` a bitmask."""

    id: UUID
    user_id: UUID
    organization_id: UUID
    permissions: int
    expires_at: datetime | None = None
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def has_expired(self, at: datetime) -> bool:
        """Whether the key has expired at this time."""
        return self.expires_at is not None and self.expires_at <= at

    def may_be_used_from(self, address: str) -> bool:
        """Whether the address is in one of the key's networks; a key without networks can be used from anywhere."""
        if not self.networks:
            return True
        try:
            caller = ip_address(address)
        except ValueError:
            return False
        return any(caller in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class Service:
    """A service or tool of the platform."""

    name: str


Principal = Person | Service


def private_key(pem: str) -> Ed25519PrivateKey:
    """The Ed25519 key in a PKCS8 PEM text; ValueError for another kind of key."""
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("an Ed25519 key is needed")
    return key


def parse_jwks(text: str, algorithm: str = _ALGORITHM) -> dict[str, jwt.PyJWK]:
    """The keys of a JWKS document by their kid."""
    return {str(key["kid"]): jwt.PyJWK(key, algorithm=algorithm) for key in json.loads(text)["keys"]}


def sign(key: Ed25519PrivateKey, kid: str, claims: Mapping[str, object]) -> str:
    """Signs a token with these claims."""
    return jwt.encode(dict(claims), key, algorithm=_ALGORITHM, headers={"kid": kid})


class ServiceIdentity(Protocol):
    """Issues tokens that prove a service's identity to other services."""

    @property
    def name(self) -> str:
        """The service's own name."""
        ...

    def token(self, audience: str) -> str:
        """A token for the called service, which no other service accepts."""
        ...


class SignedIdentity(ServiceIdentity):
    """Signs tokens with the service's own key, one per called service, and renews them before they expire."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._name = name
        self._key = key
        self._tokens: dict[str, tuple[str, float]] = {}

    @property
    @override
    def name(self) -> str:
        return self._name

    @override
    def token(self, audience: str) -> str:
        now = time.time()
        token, renew_at = self._tokens.get(audience, ("", 0.0))
        if now >= renew_at:
            issued = int(now)
            claims = {"iss": SERVICE_ISSUER, "aud": audience, "sub": self._name, "iat": issued}
            token = sign(self._key, self._name, claims | {"exp": issued + _SERVICE_TOKEN_TTL_S})
            self._tokens[audience] = (token, now + _SERVICE_TOKEN_TTL_S - _RENEW_BEFORE_S)
        return token


class ServiceTokenVerifier(Protocol):
    """Verifies service tokens that an outside issuer signed."""

    @property
    def issuers(self) -> frozenset[str]:
        """The `iss` claims of these tokens."""
        ...

    def verify(self, token: str, audience: str) -> tuple[Service, float]:
        """Returns the service and the token's expiry in s since 1970; raises jwt.PyJWTError or an AppError."""
        ...


class Verifier:
    """Verifies tokens and caches the result until the token expires, because a verification takes 100 µs."""

    def __init__(
        self,
        audience: str,
        *,
        user_keys: KeyLookup,
        service_keys: Mapping[str, jwt.PyJWK],
        others: ServiceTokenVerifier | None = None,
    ) -> None:
        """`audience` is this service's own name, which the `aud` claim of service tokens must have."""
        self._audience = audience
        self._user_keys = user_keys
        self._service_keys = service_keys
        self._others = others
        self._verified: OrderedDict[str, tuple[Principal, float, str]] = OrderedDict()
        self._lock = threading.Lock()

    def verify(self, token: str) -> Principal:
        """Returns the caller that the token identifies; TOKEN_INVALID."""
        if cached := self._verified.get(token):
            principal, expires_at, kid = cached
            # A token ends when the key that signed it is no longer served.
            if expires_at > time.time() and (not kid or self._user_keys(kid) is not None):
                return principal
        verified = self._verify(token)
        with self._lock:
            self._verified[token] = verified
            if len(self._verified) > _MAX_CACHED_TOKENS:
                self._verified.popitem(last=False)
        return verified[0]

    def _verify(self, token: str) -> tuple[Principal, float, str]:
        """Returns the principal, the token's expiry in s since 1970, and for a person's token the key's id."""
        try:
            kid = str(jwt.get_unverified_header(token).get("kid", ""))
            if key := self._service_keys.get(kid):
                claims = _claims(token, key, SERVICE_ISSUER, self._audience)
                if claims["sub"] != kid:
                    raise TokenInvalid("the service token names another service than its key")
                return Service(kid), float(claims["exp"]), ""
            if self._others is not None and _issuer(token) in self._others.issuers:
                service, expires = self._others.verify(token, self._audience)
                return service, expires, ""
            key = self._user_keys(kid)
            if key is None:
                raise TokenInvalid("the access token was signed with an unknown key; sign in again")
            claims = _claims(token, key, USER_ISSUER, AUDIENCE)
            person = Person(UUID(claims["sub"]), UUID(claims["sid"]))
            if person.session_id == NO_SESSION:
                raise TokenInvalid("the access token names no session; sign in again")
            return person, float(claims["exp"]), kid
        except jwt.ExpiredSignatureError:
            raise TokenInvalid("the access token has expired; refresh it") from None
        except (jwt.PyJWTError, KeyError, ValueError):
            raise TokenInvalid("the access token is not valid; sign in again") from None


def _issuer(token: str) -> str:
    return str(jwt.decode(token, options={"verify_signature": False}).get("iss", ""))


def _claims(token: str, key: jwt.PyJWK, issuer: str, audience: str) -> dict[str, str]:
    claims: dict[str, str] = jwt.decode(
        token, key, algorithms=[_ALGORITHM], audience=audience, issuer=issuer,
        options={"require": ["exp", "iat", "sub"]},
    )  # fmt: skip
    return claims


class CachedKeys:
    """Keys fetched from their source and cached.

    A token with an unknown kid causes a fetch (at most one every `min_interval_s`); the cache also expires after
    `max_age_s`, which removes keys that are no longer served. When a fetch fails, known keys remain in use.
    """

    def __init__(
        self, fetch: Callable[[], Mapping[str, jwt.PyJWK]], *, min_interval_s: float = 2.0, max_age_s: float = 30.0
    ) -> None:
        self._fetch = fetch
        self._min_interval_s = min_interval_s
        self._max_age_s = max_age_s
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._lock = threading.Lock()

    def __call__(self, kid: str) -> jwt.PyJWK | None:
        """Returns the key with this id, or None."""
        is_known = kid in self._keys
        is_stale = not is_known or time.monotonic() - self._fetched_at >= self._max_age_s
        # Callers whose key is known do not wait for the thread that fetches.
        if is_stale and self._lock.acquire(blocking=not is_known):
            try:
                self._refresh(kid)
            finally:
                self._lock.release()
        return self._keys.get(kid)

    def _refresh(self, kid: str) -> None:
        is_known = kid in self._keys
        age_s = time.monotonic() - self._fetched_at
        if age_s < (self._max_age_s if is_known else self._min_interval_s):
            return
        try:
            self._keys = self._fetch()
        except AppError as error:
            if not is_known:
                raise
            _log.warning("keys_not_refreshed", error=error.message)
        self._fetched_at = time.monotonic()
