"""What one coin is worth in a currency."""

from decimal import Decimal
from typing import Protocol

from payment_service.providers.crypto.model import Coin, CoinHasNoRate


class Rates(Protocol):
    """Where rates come from. A rate is kept with the payment that was asked for by it, and with what was credited."""

    def rate(self, coin: Coin, currency_code: str) -> Decimal:
        """Units of the currency for one coin; CURRENCY_UNSUPPORTED where it is not counted in it."""
        ...


class ConfiguredRates:
    """Those that stand beside the coin in the configuration: a stablecoin's peg, a price that somebody keeps up."""

    def rate(self, coin: Coin, currency_code: str) -> Decimal:
        """Units of the currency for one coin; CURRENCY_UNSUPPORTED where none is configured."""
        if currency_code not in coin.rates:
            raise CoinHasNoRate(coin.symbol, currency_code, ", ".join(coin.rates))
        return coin.rates[currency_code]
