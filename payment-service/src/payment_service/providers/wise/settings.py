"""Where and as whom bank transfers are received and made."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from adlib.clock import Clock
from adlib.config import ConfigurationError, Environment
from adlib.db import Database
from adlib.errors import InvalidArgument
from adlib.money import currency
from payment_service.providers.wise.provider import WiseDeposits

# Those that the platform keeps wallets in and that Wise gives bank accounts for.
_CURRENCIES = "EUR,GBP,USD"


@dataclass(frozen=True, slots=True)
class WiseSettings:
    """The profile at Wise."""

    url: str
    token: str
    profile_id: int
    webhook_key: RSAPublicKey
    # Those that the profile has bank accounts in.
    currencies: tuple[str, ...] = tuple(_CURRENCIES.split(","))

    def provider(self, db: Database, clock: Clock) -> WiseDeposits:
        """Deposits by bank transfer to this profile."""
        return WiseDeposits(self.url, self.token, self.profile_id, self.webhook_key, self.currencies, db, clock)


def read(environment: Environment) -> WiseSettings:
    """ConfigurationError naming what is missing."""
    return WiseSettings(
        url=environment.text("WISE_API_URL").rstrip("/"),
        token=environment.text("WISE_API_TOKEN"),
        profile_id=environment.integer("WISE_PROFILE_ID"),
        webhook_key=_public_key(environment.file("WISE_WEBHOOK_KEY_FILE")),
        currencies=_currencies(environment.text("WISE_CURRENCIES", _CURRENCIES)),
    )


def _public_key(pem: str) -> RSAPublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except ValueError:
        key = None
    if not isinstance(key, RSAPublicKey):
        raise ConfigurationError("WISE_WEBHOOK_KEY_FILE does not hold an RSA public key in PEM")
    return key


def _currencies(codes: str) -> tuple[str, ...]:
    try:
        return tuple(currency(code.strip()) for code in codes.split(","))
    except InvalidArgument as error:
        raise ConfigurationError(f"WISE_CURRENCIES: {error.message}") from error
