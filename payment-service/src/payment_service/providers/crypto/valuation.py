"""Values what was sent to an address, in whole minor units of a currency."""

from datetime import UTC, datetime
from decimal import Decimal

from adlib.clock import Clock
from adlib.money import floor_to_minor, micros_per_minor
from adlib.telemetry import logger
from payment_service.providers.crypto.model import Chain, Coin, CoinHasNoRate, worth_micros
from payment_service.providers.crypto.node import Block
from payment_service.providers.crypto.rates import Rates
from payment_service.providers.crypto.store import Address, Transfer

# More than any sum of money; a token that moves more is not what it is configured as.
_MOST_MICROS = 10**17
_log = logger(__name__)


class Valuation:
    """Values what arrives on one chain."""

    def __init__(self, chain: Chain, rates: Rates, clock: Clock) -> None:
        self._chain = chain
        self._rates = rates
        self._clock = clock

    def transfer(
        self, block: Block, hash: str, index: str, address: Address, coin: Coin, amount: int
    ) -> Transfer | None:
        """What was sent, at the rate that the customer was told where it still holds; None for dust."""
        currency_code, rate = self._rate(block, address, coin)
        worth = worth_micros(amount, coin, rate)
        if worth > _MOST_MICROS:
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
        """Where the coin has no rate in the payment's currency, another in which it has one: it is for staff then."""
        was_told = (address.chain_id, address.coin) == (self._chain.chain_id, coin.symbol)
        if was_told and datetime.fromtimestamp(block.timestamp, UTC) <= address.expires_at:
            return address.currency_code, address.rate
        try:
            return address.currency_code, self._rates.rate(coin, address.currency_code)
        except CoinHasNoRate:
            other = next(iter(coin.rates))
            return other, self._rates.rate(coin, other)
