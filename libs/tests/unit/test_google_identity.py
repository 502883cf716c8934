"""ID tokens signed by Google identify services, and no other callers."""

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from adlib.errors import TokenInvalid
from adlib.google_identity import GoogleTokenVerifier
from adlib.identity import Service, Verifier

ACCOUNT = "campaign@example.iam.gserviceaccount.com"
KEY = rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def keys_url() -> Iterator[str]:
    """Serves the public key in Google's format."""
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())) | {"kid": "g1", "alg": "RS256"}

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"keys": [jwk]}).encode())

        def log_message(self, format: str, *arguments: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Keys)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/certs"
    server.shutdown()
    thread.join()
    server.server_close()


def verifier(keys_url: str) -> Verifier:
    google = GoogleTokenVerifier({ACCOUNT: "campaign-service"}, keys_url)
    return Verifier("payment-service", user_keys=lambda kid: None, service_keys={}, others=google)


def token(**changes: object) -> str:
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": "https://accounts.google.com",
        "aud": "payment-service",
        "sub": "1234",
        "email": ACCOUNT,
        "email_verified": True,
        "iat": now,
        "exp": now + 600,
    }
    return jwt.encode(claims | changes, KEY, algorithm="RS256", headers={"kid": "g1"})


def test_service_account_is_mapped_to_its_service(keys_url: str) -> None:
    assert verifier(keys_url).verify(token()) == Service("campaign-service")


@pytest.mark.parametrize(
    "changes",
    [
        {"email": "somebody@example.com"},
        {"email_verified": False},
        {"aud": "pixel-service"},
        {"exp": 1},
        {"iss": "https://accounts.example.com"},
    ],
)
def test_other_tokens_are_refused(keys_url: str, changes: dict[str, object]) -> None:
    with pytest.raises(TokenInvalid):
        verifier(keys_url).verify(token(**changes))


def test_forged_token_is_refused(keys_url: str) -> None:
    with pytest.raises(TokenInvalid):
        verifier(keys_url).verify(token()[:-8] + "AAAAAAAA")


def test_googles_key_cannot_sign_a_persons_token(keys_url: str) -> None:
    forged = jwt.encode({"iss": "adplatform-auth", "sub": "x"}, KEY, algorithm="RS256", headers={"kid": "g1"})
    with pytest.raises(TokenInvalid):
        verifier(keys_url).verify(forged)
