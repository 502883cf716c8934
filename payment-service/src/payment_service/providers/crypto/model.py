"""Chains, coins and addresses, and what an amount of a coin is worth. Amounts of coins are in their smallest unit."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import InvalidArgument
from payment_service.providers.model import Outage

ZERO_ADDRESS = "0x" + "0" * 40
_HEX_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_BASE58 = "[1-9A-HJ-NP-Za-km-z]"
# What people paste where an EVM address belongs; Solana's last, since others look like one too.
_OTHERS = {
    "a Bitcoin address": re.compile(rf"(bc1|tb1)[0-9a-z]{{11,87}}|[13]{_BASE58}{{25,34}}", re.ASCII),
    "a Litecoin address": re.compile(rf"ltc1[0-9a-z]{{11,87}}|[LM]{_BASE58}{{26,33}}", re.ASCII),
    "a Tron address": re.compile(rf"T{_BASE58}{{33}}", re.ASCII),
    "an XRP address": re.compile(rf"r{_BASE58}{{24,34}}", re.ASCII),
    "a Solana address": re.compile(rf"{_BASE58}{{32,44}}", re.ASCII),
    "a name, not an address": re.compile(r"[\w-]+(\.[\w-]+)*\.eth"),
    "a transaction hash or a private key": re.compile(r"(0x)?[0-9a-fA-F]{64}"),
}


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
    """The payment's currency is none that the coin is counted in."""

    reason = ErrorReason.CURRENCY_UNSUPPORTED

    def __init__(self, coin: str, currency_code: str, known: str) -> None:
        super().__init__(
            f"a payment in {currency_code} cannot be made with {coin}; use {known}", currencyCode=currency_code
        )


class AddressInvalid(InvalidArgument):
    """No address of an EVM chain, or none that money may be sent to."""

    reason = ErrorReason.ADDRESS_INVALID

    def __init__(self, why: str) -> None:
        super().__init__(f"refundAddress {why}")


class AddressChecksumInvalid(InvalidArgument):
    """A letter of the address has the wrong case, so a character of it may be wrong."""

    reason = ErrorReason.ADDRESS_CHECKSUM_INVALID

    def __init__(self) -> None:
        super().__init__("refundAddress has a wrong checksum (EIP-55), so a character of it may be wrong; copy it anew")


@dataclass(frozen=True, slots=True)
class Coin:
    """A token, or without a contract the chain's own coin; `rates` are units of a currency for one."""

    symbol: str
    decimals: int
    rates: Mapping[str, Decimal]
    contract: str = ""
    valid_for: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain that is watched. Its own coin, where it is taken, is the last of `coins`."""

    chain_id: int
    name: str
    rpc_url: str
    confirmations: int
    coins: Sequence[Coin]
    # At most so many blocks are asked about at once.
    block_range: int = 500
    poll_s: float = 5.0
    # Where to begin where the chain has never been read; None: some way before its head.
    start_block: int | None = None
    # What is worth less is not booked: it would cost more than it is.
    dust_micros: int = 10_000
    # Not read up to its node's newest block for so long, it takes no new payments.
    stale_after_s: float = 120.0
    # Nor where that block is older: its node has stopped following the chain. 0: blocks come at no certain pace.
    head_age_s: float = 0.0

    @property
    def contracts(self) -> Mapping[str, Coin]:
        """The tokens, by their contracts in small letters."""
        return {coin.contract.lower(): coin for coin in self.coins if coin.contract}

    @property
    def native(self) -> Coin | None:
        """The chain's own coin, where it is taken."""
        return next((coin for coin in self.coins if not coin.contract), None)

    def coin(self, symbol: str) -> Coin:
        """The coin of that symbol, in any case, or without one the first; TOKEN_NOT_AVAILABLE."""
        found = [coin for coin in self.coins if symbol.upper() in ("", coin.symbol.upper())]
        if not found:
            raise TokenNotAvailable(symbol, self.name, ", ".join(coin.symbol for coin in self.coins))
        return found[0]


@dataclass(frozen=True, slots=True)
class Progress:
    """How the reading of a chain goes; `current_at` is when it was last read to its node's newest block."""

    current_at: datetime
    head_at: datetime | None = None
    halted_reason: str = ""
    fault: str = ""

    def outage(self, chain: Chain, at: datetime) -> Outage | None:
        """What keeps payments on the chain from being settled."""
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
    """Micros that the amount is worth, rounded down."""
    numerator, denominator = rate.as_integer_ratio()
    return int(amount * numerator * 10**6 // (denominator * 10**coin.decimals))


def needed(amount_micros: int, coin: Coin, rate: Decimal) -> int:
    """The least amount of the coin that is worth so much."""
    numerator, denominator = rate.as_integer_ratio()
    return int(-(-amount_micros * denominator * 10**coin.decimals // (numerator * 10**6)))


def looks_like_an_address(text: str) -> None:
    """ADDRESS_INVALID, saying what it looks like instead, unless it is one of an EVM chain, whatever its checksum."""
    if _HEX_ADDRESS.fullmatch(text):
        if text.lower() == ZERO_ADDRESS:
            raise AddressInvalid("is the zero address; what is sent there is lost")
        return
    if kind := next((kind for kind, pattern in _OTHERS.items() if pattern.fullmatch(text)), None):
        raise AddressInvalid(f"looks like {kind}; an address on this chain is 0x and 40 hexadecimal digits")
    raise AddressInvalid("must be 0x and 40 hexadecimal digits")
