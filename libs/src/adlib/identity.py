"""Who calls: tokens of people (signed by auth-service) and of services (each signs with its own key).

JSON Web Tokens (RFC 7519) signed with Ed25519 (RFC 8037).
"""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from adlib.errors import TokenInvalid

AUDIENCE = "adplatform"
USER_ISSUER = "adplatform-auth"
SERVICE_ISSUER = "adplatform-services"
_ALGORITHM = "EdDSA"
_SERVICE_TOKEN_S = 300
_VERIFIED_LIMIT = 10_000

Keys = Callable[[str], jwt.PyJWK | None]


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in person, as their access token says."""

    user_id: UUID
    session_id: UUID


@dataclass(frozen=True, slots=True)
class Service:
    """One of our own services or tools."""

    name: str


Principal = Person | Service


def private_key(pem: str) -> Ed25519PrivateKey:
    """The Ed25519 key in a PKCS8 PEM text; ValueError where it is another kind."""
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("an Ed25519 key is needed")
    return key


def parse_jwks(text: str) -> dict[str, jwt.PyJWK]:
    """The keys of a JWKS document by their kid."""
    return {str(key["kid"]): jwt.PyJWK(key, algorithm=_ALGORITHM) for key in json.loads(text)["keys"]}


def sign(key: Ed25519PrivateKey, kid: str, claims: Mapping[str, object]) -> str:
    """A token with these claims."""
    return jwt.encode(dict(claims), key, algorithm=_ALGORITHM, headers={"kid": kid})


class ServiceIdentity:
    """What a service proves itself with: a token it signs itself, renewed before it expires."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self.name = name
        self._key = key
        self._token = ""
        self._renew_at = 0.0

    def token(self) -> str:
        """A token that is good for at least two minutes more."""
        now = time.time()
        if now >= self._renew_at:
            issued = int(now)
            claims = {"iss": SERVICE_ISSUER, "aud": AUDIENCE, "sub": self.name, "iat": issued}
            self._token = sign(self._key, self.name, claims | {"exp": issued + _SERVICE_TOKEN_S})
            self._renew_at = now + _SERVICE_TOKEN_S - 120
        return self._token


class Verifier:
    """Checks tokens. A good one is checked once and remembered until it expires (a check costs 100 µs)."""

    def __init__(self, *, user_keys: Keys, service_keys: Mapping[str, jwt.PyJWK]) -> None:
        self._user_keys = user_keys
        self._service_keys = service_keys
        self._verified: OrderedDict[str, tuple[Principal, float]] = OrderedDict()
        self._lock = threading.Lock()

    def verify(self, token: str) -> Principal:
        """Who the token speaks for; TOKEN_INVALID."""
        known = self._verified.get(token)
        if known is not None and known[1] > time.time():
            return known[0]
        principal, expires = self._check(token)
        with self._lock:
            self._verified[token] = (principal, expires)
            if len(self._verified) > _VERIFIED_LIMIT:
                self._verified.popitem(last=False)
        return principal

    def _check(self, token: str) -> tuple[Principal, float]:
        try:
            kid = str(jwt.get_unverified_header(token).get("kid", ""))
            key = self._service_keys.get(kid)
            issuer = SERVICE_ISSUER if key else USER_ISSUER
            key = key or self._user_keys(kid)
            if key is None:
                raise TokenInvalid("the access token was signed with an unknown key; sign in again")
            claims = jwt.decode(
                token, key, algorithms=[_ALGORITHM], audience=AUDIENCE, issuer=issuer,
                options={"require": ["exp", "iat", "sub"]},
            )  # fmt: skip
            if issuer == USER_ISSUER:
                return Person(UUID(claims["sub"]), UUID(claims["sid"])), float(claims["exp"])
            if claims["sub"] != kid:
                raise TokenInvalid("the service token names another service than its key")
            return Service(kid), float(claims["exp"])
        except jwt.ExpiredSignatureError:
            raise TokenInvalid("the access token has expired; refresh it") from None
        except (jwt.PyJWTError, KeyError, ValueError):
            raise TokenInvalid("the access token is not valid; sign in again") from None


class RefreshedKeys:
    """Keys that are fetched again when a token names one that is not known yet, at most every few seconds."""

    def __init__(self, fetch: Callable[[], str], *, min_interval_s: float = 2.0) -> None:
        self._fetch = fetch
        self._min_interval_s = min_interval_s
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._lock = threading.Lock()

    def __call__(self, kid: str) -> jwt.PyJWK | None:
        """The key with this id, or None."""
        if kid in self._keys:
            return self._keys[kid]
        with self._lock:
            if kid not in self._keys and time.monotonic() - self._fetched_at >= self._min_interval_s:
                self._keys = parse_jwks(self._fetch())
                self._fetched_at = time.monotonic()
        return self._keys.get(kid)
