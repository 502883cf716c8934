"""Where and as whom bank transfers are received and made."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from adlib.config import ConfigurationError, Environment


@dataclass(frozen=True, slots=True)
class WiseSettings:
    """The profile at Wise."""

    url: str
    token: str
    profile_id: int
    webhook_key: RSAPublicKey


def read(environment: Environment) -> WiseSettings:
    """ConfigurationError naming what is missing."""
    return WiseSettings(
        url=environment.text("WISE_API_URL").rstrip("/"),
        token=environment.text("WISE_API_TOKEN"),
        profile_id=environment.integer("WISE_PROFILE_ID"),
        webhook_key=_public_key(environment.file("WISE_WEBHOOK_KEY_FILE")),
    )


def _public_key(pem: str) -> RSAPublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except ValueError:
        key = None
    if not isinstance(key, RSAPublicKey):
        raise ConfigurationError("WISE_WEBHOOK_KEY_FILE does not hold an RSA public key in PEM")
    return key
