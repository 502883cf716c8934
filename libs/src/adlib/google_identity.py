"""Service identity on Google Cloud: ID tokens that Google signs for service accounts (OpenID Connect).

Each service is deployed with its own name as a custom audience, so a token for one service is refused by the others.
"""

import threading
from collections.abc import Mapping
from http import HTTPStatus

import jwt
from google.auth import credentials, exceptions
from google.auth.transport.requests import Request
from google.oauth2 import id_token
from typing_extensions import override

from adlib import identity
from adlib.errors import TokenInvalid, Unavailable
from adlib.identity import CachedKeys, Service, ServiceTokenVerifier

_KEYS_URL = "https://www.googleapis.com/oauth2/v3/certs"
_ISSUERS = frozenset({"https://accounts.google.com", "accounts.google.com"})
_ALGORITHM = "RS256"
_TIMEOUT_S = 3.0


class GoogleIdentity:
    """Fetches ID tokens of this service's service account from the metadata server."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._request = Request()
        self._credentials: dict[str, credentials.Credentials] = {}
        self._lock = threading.Lock()

    def token(self, audience: str) -> str:
        """A token for the called service; UNAVAILABLE if the metadata server issues none."""
        with self._lock:
            try:
                cached = self._credentials.get(audience)
                if cached is None:
                    cached = self._credentials[audience] = self._fetch(audience)
                if not cached.valid:
                    cached.refresh(self._request)  # type: ignore[no-untyped-call]  # google-auth leaves it untyped
            except exceptions.GoogleAuthError as error:
                raise Unavailable("this service cannot get an identity token; try again") from error
            return str(cached.token)

    def _fetch(self, audience: str) -> credentials.Credentials:
        fetched: credentials.Credentials = id_token.fetch_id_token_credentials(  # type: ignore[no-untyped-call]  # google-auth leaves it untyped
            audience, self._request
        )
        return fetched


class GoogleTokenVerifier(ServiceTokenVerifier):
    """Verifies Google's ID tokens; `accounts` maps the e-mail of a service account to a service's name."""

    @property
    @override
    def issuers(self) -> frozenset[str]:
        return _ISSUERS

    def __init__(self, accounts: Mapping[str, str], keys_url: str = _KEYS_URL) -> None:
        self._accounts = accounts
        self._keys_url = keys_url
        self._request = Request()
        self._keys = CachedKeys(self._fetch, max_age_s=3600.0)

    @override
    def verify(self, token: str, audience: str) -> tuple[Service, float]:
        key = self._keys(str(jwt.get_unverified_header(token).get("kid", "")))
        if key is None:
            raise TokenInvalid("the service token was signed with an unknown key")
        claims = jwt.decode(
            token, key, algorithms=[_ALGORITHM], audience=audience, options={"require": ["exp", "iat", "sub"]}
        )
        name = self._accounts.get(str(claims.get("email", "")))
        if claims["iss"] not in _ISSUERS or not claims.get("email_verified") or name is None:
            raise TokenInvalid("the service token belongs to an account that is not a service of this platform")
        return Service(name), float(claims["exp"])

    def _fetch(self) -> Mapping[str, jwt.PyJWK]:
        try:
            answer = self._request(self._keys_url, timeout=_TIMEOUT_S)
        except exceptions.TransportError as error:
            raise Unavailable("Google's keys cannot be fetched; try again") from error
        if answer.status != HTTPStatus.OK:
            raise Unavailable("Google's keys cannot be fetched; try again")
        return identity.parse_jwks(answer.data.decode(), _ALGORITHM)
