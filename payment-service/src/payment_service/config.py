"""Settings of payment-service."""

from dataclasses import dataclass

from adlib.config import ConfigurationError, Environment
from adlib.errors import InvalidArgument
from adlib.money import CURRENCIES, DEFAULT_CURRENCY, currency
from adlib.service import CommonSettings, read_common
from payment_service.providers import settings as provider_settings
from payment_service.providers.settings import ProviderSettings
from payment_service.receipts.model import MAX_TEXT_LENGTH, plain

_DEFAULT_ISSUER = "The ad platform"
_MAX_ISSUER_LINES = 10


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of payment-service."""

    common: CommonSettings
    database_url: str
    providers: ProviderSettings
    # The lines of text that identify the issuer of receipts.
    receipt_issuer: tuple[str, ...] = (_DEFAULT_ISSUER,)
    # The currencies that campaigns can be billed in; money in another could not be spent.
    wallet_currencies: tuple[str, ...] = CURRENCIES


def read(environment: Environment) -> Config:
    """Reads the environment; ConfigurationError names a missing variable."""
    return Config(
        common=read_common(environment, "payment-service"),
        database_url=environment.text("DATABASE_URL"),
        providers=provider_settings.read(environment),
        receipt_issuer=issuer(environment),
        wallet_currencies=wallet_currencies_of(environment.text("WALLET_CURRENCIES", DEFAULT_CURRENCY)),
    )


def issuer(environment: Environment) -> tuple[str, ...]:
    """RECEIPT_ISSUER as lines of text; ConfigurationError."""
    lines = [line.strip() for line in environment.text("RECEIPT_ISSUER", _DEFAULT_ISSUER).split("|") if line.strip()]
    if not 0 < len(lines) <= _MAX_ISSUER_LINES or any(len(line) > MAX_TEXT_LENGTH for line in lines):
        raise ConfigurationError(
            f"RECEIPT_ISSUER needs 1 to {_MAX_ISSUER_LINES} lines separated by |, each of at most {MAX_TEXT_LENGTH} "
            "characters: a name, an address, a tax number"
        )
    return tuple(plain(line) for line in lines)


def wallet_currencies_of(codes: str) -> tuple[str, ...]:
    """A comma-separated list of currency codes; ConfigurationError."""
    try:
        return tuple(currency(code.strip()) for code in codes.split(","))
    except InvalidArgument as error:
        raise ConfigurationError(f"WALLET_CURRENCIES: {error.message}") from error
