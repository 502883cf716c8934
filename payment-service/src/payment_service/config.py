"""Settings of payment-service."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from adlib.config import ConfigurationError, Environment
from adlib.service import Common, read_common

_STRIPE_API = "https://api.stripe.com"


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """Where and as whom cards are charged."""

    api_key: str
    webhook_secret: str
    api_base: str


@dataclass(frozen=True, slots=True)
class WiseSettings:
    """Where and as whom bank transfers are made."""

    url: str
    token: str
    profile_id: int
    webhook_key: RSAPublicKey


@dataclass(frozen=True, slots=True)
class Config:
    """What payment-service is told from outside."""

    common: Common
    database_url: str
    stripe: StripeSettings
    wise: WiseSettings


def read(environment: Environment) -> Config:
    """Reads the environment; ConfigurationError naming what is missing."""
    return Config(
        common=read_common(environment, "payment-service"),
        database_url=environment.text("DATABASE_URL"),
        stripe=StripeSettings(
            api_key=environment.text("STRIPE_API_KEY"),
            webhook_secret=environment.secret("STRIPE_WEBHOOK_SECRET", 8),
            api_base=environment.text("STRIPE_API_BASE", _STRIPE_API).rstrip("/"),
        ),
        wise=WiseSettings(
            url=environment.text("WISE_API_URL").rstrip("/"),
            token=environment.text("WISE_API_TOKEN"),
            profile_id=environment.integer("WISE_PROFILE_ID"),
            webhook_key=_public_key(environment.file("WISE_WEBHOOK_KEY_FILE")),
        ),
    )


def _public_key(pem: str) -> RSAPublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except ValueError:
        key = None
    if not isinstance(key, RSAPublicKey):
        raise ConfigurationError("WISE_WEBHOOK_KEY_FILE does not hold an RSA public key in PEM")
    return key
