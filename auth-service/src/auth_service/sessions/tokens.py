"""Access tokens, signed with Ed25519."""

import base64
import hashlib
import json
from datetime import datetime

import jwt

from adlib import identity
from auth_service.sessions.model import Session

ACCESS_TOKEN_S = 900


class TokenSigner:
    """Signs access tokens and publishes the key that they are verified with."""

    def __init__(self, pem: str) -> None:
        """`pem` is an Ed25519 private key in PKCS8."""
        self._key = identity.private_key(pem)
        public = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(self._key.public_key()))
        self._kid = _thumbprint(public)
        self._jwks = json.dumps({"keys": [{**public, "kid": self._kid, "use": "sig", "alg": "EdDSA"}]})

    def jwks(self) -> str:
        """The public keys as a JWKS document (RFC 7517)."""
        return self._jwks

    def access_token(self, session: Session, at: datetime) -> str:
        """A token for the session, good for `ACCESS_TOKEN_S` seconds."""
        issued = int(at.timestamp())
        claims = {
            "iss": identity.USER_ISSUER,
            "aud": identity.AUDIENCE,
            "sub": str(session.user_id),
            "sid": str(session.id),
            "iat": issued,
            "exp": issued + ACCESS_TOKEN_S,
        }
        return identity.sign(self._key, self._kid, claims)


def _thumbprint(jwk: dict[str, str]) -> str:
    """RFC 7638: the hash of the key's required members."""
    members = json.dumps({name: jwk[name] for name in ("crv", "kty", "x")}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest()).rstrip(b"=").decode()
