"""Keys and tokens in the formats of production, generated for a test."""

import json
import time
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from adlib import identity
from adlib.identity import Person, SignedIdentity, Verifier

_USER_KID = "test-users"


def public_jwk(key: Ed25519PrivateKey, kid: str) -> dict[str, object]:
    """The public half of a key, as an entry of a JWKS document."""
    return {
        **json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key())),
        "kid": kid,
        "use": "sig",
        "alg": "EdDSA",
    }


class Identities:
    """Signs tokens of people and services, and verifies them as the service `audience` does."""

    def __init__(self, audience: str = "test-service") -> None:
        self._audience = audience
        self._user_key = Ed25519PrivateKey.generate()
        self._service_keys: dict[str, Ed25519PrivateKey] = {}

    def service(self, name: str) -> SignedIdentity:
        """The identity of a service; call it before `verifier`, which accepts only the services known by then."""
        key = self._service_keys.setdefault(name, Ed25519PrivateKey.generate())
        return SignedIdentity(name, key)

    def user_jwks(self) -> str:
        """The JWKS document that auth-service would serve."""
        return json.dumps({"keys": [public_jwk(self._user_key, _USER_KID)]})

    def service_jwks(self) -> str:
        """The contents of SERVICE_KEYS_FILE."""
        return json.dumps({"keys": [public_jwk(key, name) for name, key in self._service_keys.items()]})

    def verifier(self) -> Verifier:
        """A verifier of people's tokens, and of the tokens of services that `service` was called for."""
        users = identity.parse_jwks(self.user_jwks())
        services = identity.parse_jwks(self.service_jwks())
        return Verifier(self._audience, user_keys=users.get, service_keys=services)

    def person(self) -> Person:
        """A new person with a session."""
        return Person(uuid4(), uuid4())

    def token(self, person: Person, *, expires_in_s: int = 900, key: Ed25519PrivateKey | None = None) -> str:
        """An access token; a `key` other than the platform's makes it a forged one."""
        now = int(time.time())
        claims = {
            "iss": identity.USER_ISSUER,
            "aud": identity.AUDIENCE,
            "sub": str(person.user_id),
            "sid": str(person.session_id),
            "iat": now - 60,
            "exp": now + expires_in_s,
        }
        return identity.sign(key or self._user_key, _USER_KID, claims)

    def headers(self, person: Person, organization_id: UUID | None = None, **more: str) -> list[tuple[str, str]]:
        """The metadata of a call by this person for this organization; names in `more` have _ for -."""
        metadata = [("authorization", f"Bearer {self.token(person)}")]
        if organization_id:
            metadata.append(("organization-id", str(organization_id)))
        return metadata + [(name.replace("_", "-"), value) for name, value in more.items()]

    def service_headers(self, name: str) -> list[tuple[str, str]]:
        """The metadata of a call by this service to the service `audience`."""
        return [("authorization", f"Bearer {self.service(name).token(self._audience)}")]
