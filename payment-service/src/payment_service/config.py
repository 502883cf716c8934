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
from payment_service.receipts.model import LONGEST_TEXT, plain

_ISSUER = "The ad platform"
_MOST_LINES = 10


@dataclass(frozen=True, slots=True)
class Config:
    """What payment-service is told from outside."""

    common: CommonSettings
    database_url: str
    # By name: those with which deposits can be paid.
    providers: Mapping[str, Settings]
    # The bank that pays payouts.
    bank: WiseSettings
    # The lines that say who issues receipts.
    receipt_issuer: tuple[str, ...] = (_ISSUER,)
    # What campaigns can be billed in; money in another would lie in a wallet that pays for nothing.
    wallet_currencies: tuple[str, ...] = CURRENCIES


def read(environment: Environment) -> Config:
    """Reads the environment; ConfigurationError naming what is missing."""
    return Config(
        common=read_common(environment, "payment-service"),
        database_url=environment.text("DATABASE_URL"),
        providers=_providers(environment),
        bank=wise.read(environment),
        receipt_issuer=issuer(environment),
        wallet_currencies=wallet_currencies_of(environment.text("WALLET_CURRENCIES", DEFAULT_CURRENCY)),
    )


def issuer(environment: Environment) -> tuple[str, ...]:
    """The lines that say who issues receipts; ConfigurationError."""
    lines = [line.strip() for line in environment.text("RECEIPT_ISSUER", _ISSUER).split("|") if line.strip()]
    if not 0 < len(lines) <= _MOST_LINES or any(len(line) > LONGEST_TEXT for line in lines):
        raise ConfigurationError(
            f"RECEIPT_ISSUER needs 1 to {_MOST_LINES} lines separated by |, each of at most {LONGEST_TEXT} characters: "
            "a name, an address, a tax number"
        )
    return tuple(plain(line) for line in lines)


def _providers(environment: Environment) -> Mapping[str, Settings]:
    names = [name.strip() for name in environment.text("PAYMENT_PROVIDERS", "STRIPE,WISE").split(",") if name.strip()]
    if unknown := [name for name in names if name not in KNOWN]:
        raise ConfigurationError(f"PAYMENT_PROVIDERS names {', '.join(unknown)}; there are {', '.join(KNOWN)}")
    return {name: KNOWN[name](environment) for name in names}


def wallet_currencies_of(codes: str) -> tuple[str, ...]:
    """Those that are named; ConfigurationError."""
    try:
        return tuple(currency(code.strip()) for code in codes.split(","))
    except InvalidArgument as error:
        raise ConfigurationError(f"WALLET_CURRENCIES: {error.message}") from error
