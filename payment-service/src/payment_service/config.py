"""Settings of payment-service."""

from collections.abc import Mapping
from dataclasses import dataclass

from adlib.config import ConfigurationError, Environment
from adlib.errors import InvalidArgument
from adlib.money import CURRENCIES, DEFAULT_CURRENCY, currency
from adlib.service import CommonSettings, read_common
from payment_service.providers import KNOWN
from payment_service.providers.protocol import Settings
from payment_service.providers.wise import settings as wise
from payment_service.providers.wise.settings import WiseSettings
from payment_service.receipts.model import MAX_TEXT_LENGTH, plain

_ISSUER = "The ad platform"
_MAX_ISSUER_LINES = 10


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of payment-service."""

    common: CommonSettings
    database_url: str
    # The providers that customers can pay with, by name.
    providers: Mapping[str, Settings]
    # The bank that sends payouts.
    bank: WiseSettings
    # The lines of text that identify the issuer of receipts.
    receipt_issuer: tuple[str, ...] = (_ISSUER,)
    # The currencies that campaigns can be billed in; money in another could not be spent.
    wallet_currencies: tuple[str, ...] = CURRENCIES


def read(environment: Environment) -> Config:
    """Reads the environment; ConfigurationError names a missing variable."""
    return Config(
        common=read_common(environment, "payment-service"),
        database_url=environment.text("DATABASE_URL"),
        providers=_providers(environment),
        bank=wise.read(environment),
        receipt_issuer=issuer(environment),
        wallet_currencies=wallet_currencies_of(environment.text("WALLET_CURRENCIES", DEFAULT_CURRENCY)),
    )


def issuer(environment: Environment) -> tuple[str, ...]:
    """RECEIPT_ISSUER as lines of text; ConfigurationError."""
    lines = [line.strip() for line in environment.text("RECEIPT_ISSUER", _ISSUER).split("|") if line.strip()]
    if not 0 < len(lines) <= _MAX_ISSUER_LINES or any(len(line) > MAX_TEXT_LENGTH for line in lines):
        raise ConfigurationError(
            f"RECEIPT_ISSUER needs 1 to {_MAX_ISSUER_LINES} lines separated by |, each of at most {MAX_TEXT_LENGTH} "
            "characters: a name, an address, a tax number"
        )
    return tuple(plain(line) for line in lines)


def _providers(environment: Environment) -> Mapping[str, Settings]:
    names = [name.strip() for name in environment.text("PAYMENT_PROVIDERS", "STRIPE,WISE").split(",") if name.strip()]
    if unknown := [name for name in names if name not in KNOWN]:
        raise ConfigurationError(f"PAYMENT_PROVIDERS names {', '.join(unknown)}; there are {', '.join(KNOWN)}")
    return {name: KNOWN[name](environment) for name in names}


def wallet_currencies_of(codes: str) -> tuple[str, ...]:
    """A comma-separated list of currency codes; ConfigurationError."""
    try:
        return tuple(currency(code.strip()) for code in codes.split(","))
    except InvalidArgument as error:
        raise ConfigurationError(f"WALLET_CURRENCIES: {error.message}") from error
