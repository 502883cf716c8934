"""The keys of a local platform, created once in files that only their owner can read."""

import json
from base64 import urlsafe_b64encode
from pathlib import Path

from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from adctl.state import SERVICES, write_privately
from adctl.token_keys import TokenKeys, pem

SCHEDULER = "scheduler"
OPERATOR = "operator"
IDENTITIES = (*SERVICES, SCHEDULER, OPERATOR)


class Keys:
    """The files in the key folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def jwks(self) -> Path:
        """The public keys of all identities, as a JSON Web Key Set."""
        return self._folder / "services.jwks.json"

    @property
    def tokens(self) -> TokenKeys:
        """The keys that auth-service signs access tokens and links with."""
        return TokenKeys(self._folder / "tokens")

    @property
    def wise_private(self) -> Path:
        """The key that the Wise sandbox signs its webhooks with."""
        return self._folder / "wise-webhook.pem"

    @property
    def wise_public(self) -> Path:
        """The key that payment-service verifies Wise's webhooks with."""
        return self._folder / "wise-webhook.public.pem"

    @property
    def chain_seed(self) -> Path:
        """The seed of the keys of all deposit addresses on the sandbox's chain; no service gets it."""
        return self._folder / "chain-wallet.seed"

    @property
    def chain_xpub(self) -> Path:
        """The extended public key that payment-service derives deposit addresses from."""
        return self._folder / "chain-wallet.xpub"

    def of(self, identity: str) -> Path:
        """Return the private key file of an identity."""
        return self._folder / f"{identity}.pem"

    def make(self) -> None:
        """Create the missing keys, and the public files from the private ones."""
        entries = [_jwk(identity, _ed25519(self.of(identity)).public_key()) for identity in IDENTITIES]
        write_privately(self.jwks, json.dumps({"keys": entries}, indent=2))
        self.tokens.make(older=self._folder / "token.pem")
        public = _rsa(self.wise_private).public_key()
        write_privately(
            self.wise_public, public.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo).decode()
        )

    def service_token(self, identity: str, audience: str) -> str:
        """Return a short-lived token that proves the identity to the gateway and to the service `audience`."""
        from adlib.identity import SignedIdentity

        return SignedIdentity(identity, _ed25519(self.of(identity))).token(audience)


def _ed25519(path: Path) -> Ed25519PrivateKey:
    if not path.exists():
        write_privately(path, pem(Ed25519PrivateKey.generate()))
    key = form.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError(f"{path} is not an Ed25519 key")
    return key


def _rsa(path: Path) -> RSAPrivateKey:
    if not path.exists():
        write_privately(path, pem(generate_private_key(65537, 2048)))
    key = form.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError(f"{path} is not an RSA key")
    return key


def _jwk(kid: str, key: Ed25519PublicKey) -> dict[str, str]:
    raw = key.public_bytes(form.Encoding.Raw, form.PublicFormat.Raw)
    x = urlsafe_b64encode(raw).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x}
