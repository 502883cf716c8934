"""Chains, coins, and the value of an amount of a coin. Amounts of coins are in the coin's smallest unit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import InvalidArgument
from payment_service.providers.model import Outage

NAME = "CRYPTO"
# The number of block hashes that are stored per chain; a deeper reorganization halts the chain.
MAX_REORGANIZATION_DEPTH = 2_000


class ChainNotAvailable(InvalidArgument):
    """The chain is not configured."""

    reason = ErrorReason.CHAIN_NOT_AVAILABLE

    def __init__(self, chain_id: int, known: str) -> None:
        super().__init__(f"chain {chain_id} cannot be paid on here; use {known}", chainId=chain_id)


class TokenNotAvailable(InvalidArgument):
    """The token is not configured on the chain."""

    reason = ErrorReason.TOKEN_NOT_AVAILABLE

    def __init__(self, token: str, chain: str, known: str) -> None:
        super().__init__(f"{token} cannot be paid with on {chain}; use {known}", token=token)


class CoinHasNoRate(InvalidArgument):
    """The coin has no exchange rate in the payment's currency."""

    reason = ErrorReason.CURRENCY_UNSUPPORTED

    def __init__(self, coin: str, currency_code: str, known: str) -> None:
        super().__init__(
            f"a payment in {currency_code} cannot be made with {coin}; use {known}", currencyCode=currency_code
        )


@dataclass(frozen=True, slots=True)
class Coin:
    """A token, or the chain's native coin if `contract` is empty; `rates` are units of a currency for one coin."""

    symbol: str
    decimals: int
    rates: Mapping[str, Decimal]
    contract: str = ""
    valid_for: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Chain:
    """A configured chain. Its native coin, if accepted, is the last of `coins`."""

    chain_id: int
    name: str
    rpc_url: str
    confirmations: int
    coins: Sequence[Coin]
    # The most blocks per request.
    block_range: int = 500
    poll_s: float = 5.0
    # The first block to read of a chain that was never read; None: 1,000 blocks before its head.
    start_block: int | None = None
    # Transfers below this value are not booked.
    dust_micros: int = 10_000
    # New payments are refused on a chain that was not read up to its node's newest block for this long.
    stale_after_s: float = 120.0
    # They are also refused if the newest block is older than this: the node no longer follows the chain. 0: no check.
    head_age_s: float = 0.0

    @property
    def contracts(self) -> Mapping[str, Coin]:
        """The tokens by their contract's address in lower case."""
        return {coin.contract.lower(): coin for coin in self.coins if coin.contract}

    @property
    def native(self) -> Coin | None:
        """The native coin, if it is accepted."""
        return next((coin for coin in self.coins if not coin.contract), None)

    def coin(self, symbol: str) -> Coin:
        """The coin with the symbol in any case, or the first coin if it is empty; TOKEN_NOT_AVAILABLE."""
        found = [coin for coin in self.coins if symbol.upper() in ("", coin.symbol.upper())]
        if not found:
            raise TokenNotAvailable(symbol, self.name, ", ".join(coin.symbol for coin in self.coins))
        return found[0]


@dataclass(frozen=True, slots=True)
class Position:
    """The last block that was read, and the last that was read again with all its confirmations.

    `hash` is the last read block's. The fields below it are the read progress, and are not compared.
    """

    read_number: int
    confirmed_number: int
    halted_reason: str = ""
    hash: str = ""
    current_at: datetime | None = field(default=None, compare=False)
    head_at: datetime | None = field(default=None, compare=False)
    fault: str = field(default="", compare=False)

    def confirmations(self, block_number: int) -> int:
        """The number of blocks that confirm a block, including itself."""
        return self.read_number - block_number + 1


@dataclass(frozen=True, slots=True)
class Progress:
    """A chain's read progress; `current_at` is when it was last read up to its node's newest block."""

    current_at: datetime
    head_at: datetime | None = None
    halted_reason: str = ""
    fault: str = ""

    def outage(self, chain: Chain, at: datetime) -> Outage | None:
        """The outage that prevents payments on the chain from being settled; None if there is none."""
        metadata = {"chainId": chain.chain_id}
        if self.halted_reason:
            why = f"staff look into {chain.name}, and nothing on it is credited until they are done: "
            return Outage(why + self.halted_reason, metadata=metadata)
        fault = self.fault.removesuffix("; try again") or "its node does not answer"
        if (at - self.current_at).total_seconds() > chain.stale_after_s:
            since = f"{self.current_at:%Y-%m-%d %H:%M} UTC"
            return Outage(f"{chain.name} could not be read since {since}: {fault}", metadata=metadata)
        if chain.head_age_s and self.head_at and (at - self.head_at).total_seconds() > chain.head_age_s:
            newest = f"{self.head_at:%Y-%m-%d %H:%M} UTC"
            why = f"the node of {chain.name} lags behind: its newest block is of {newest}"
            return Outage(why, metadata=metadata)
        if self.fault:
            why = f"the node of {chain.name} does not answer as it should ({fault}); we keep trying"
            return Outage(why, is_lasting=False, metadata=metadata)
        return None


def worth_micros(amount: int, coin: Coin, rate: Decimal) -> int:
    """The amount's value in micros, rounded down."""
    numerator, denominator = rate.as_integer_ratio()
    return int(amount * numerator * 10**6 // (denominator * 10**coin.decimals))


def amount_worth(amount_micros: int, coin: Coin, rate: Decimal) -> int:
    """The smallest amount of the coin that has at least this value."""
    numerator, denominator = rate.as_integer_ratio()
    return int(-(-amount_micros * denominator * 10**coin.decimals // (numerator * 10**6)))
