"""Exchange rates of coins, and the value of transfers in whole minor units of a currency."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

from typing_extensions import override

from adlib.clock import Clock
from adlib.money import floor_to_minor, micros_per_minor
from adlib.telemetry import logger
from payment_service.providers.crypto.addresses.model import Address
from payment_service.providers.crypto.messages import Block
from payment_service.providers.crypto.model import Chain, Coin, CoinHasNoRate, worth_micros
from payment_service.providers.crypto.transfers.model import Transfer

# More than any real payment; a token that moves more is misconfigured.
_MAX_MICROS = 10**17
_log = logger(__name__)


class Rates(Protocol):
    """A source of rates. The rate is stored with the payment it was offered for, and with each credited deposit."""

    def rate(self, coin: Coin, currency_code: str) -> Decimal:
        """Units of the currency for one coin; CURRENCY_UNSUPPORTED if the coin has no rate in it."""
        ...


class ConfiguredRates(Rates):
    """The rates in the configuration: a stablecoin's peg, or a price that an operator updates."""

    @override
    def rate(self, coin: Coin, currency_code: str) -> Decimal:
        if currency_code not in coin.rates:
            raise CoinHasNoRate(coin.symbol, currency_code, ", ".join(coin.rates))
        return coin.rates[currency_code]


class Valuation:
    """Values the transfers on one chain."""

    def __init__(self, chain: Chain, rates: Rates, clock: Clock) -> None:
        self._chain = chain
        self._rates = rates
        self._clock = clock

    def transfer(
        self, block: Block, hash: str, index: str, address: Address, coin: Coin, amount: int
    ) -> Transfer | None:
        """The transfer with its value, at the rate that the customer was shown while that is valid; None for dust."""
        currency_code, rate = self._rate(block, address, coin)
        worth = worth_micros(amount, coin, rate)
        if worth > _MAX_MICROS:
            _log.error("crypto_transfer_too_large", transaction=hash, coin=coin.symbol, amount=str(amount))
            return None
        if worth < max(self._chain.dust_micros, micros_per_minor(currency_code)):
            return None
        return Transfer(
            key=f"{self._chain.chain_id}:{block.hash}:{hash}:{index}",
            chain_id=self._chain.chain_id,
            block_number=block.number,
            transaction_hash=hash,
            payment_id=address.payment_id,
            address=address.address,
            coin=coin.symbol,
            amount=amount,
            rate=rate,
            currency_code=currency_code,
            amount_micros=floor_to_minor(worth, currency_code),
            seen_at=self._clock.now(),
        )

    def _rate(self, block: Block, address: Address, coin: Coin) -> tuple[str, Decimal]:
        """The payment's currency and the rate; if the coin has no rate in it, another currency, for staff to assign."""
        is_chosen = (address.chain_id, address.coin) == (self._chain.chain_id, coin.symbol)
        if is_chosen and datetime.fromtimestamp(block.timestamp, UTC) <= address.expires_at:
            return address.currency_code, address.rate
        try:
            return address.currency_code, self._rates.rate(coin, address.currency_code)
        except CoinHasNoRate:
            other = next(iter(coin.rates))
            return other, self._rates.rate(coin, other)
