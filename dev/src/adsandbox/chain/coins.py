"""The coins of the sandbox's chain. Contract addresses follow from the deployer and the order of deployment."""

from collections.abc import Mapping
from dataclasses import dataclass

CHAIN_ID = 31_337
CHAIN_NAME = "Sandbox"


@dataclass(frozen=True)
class Coin:
    """A token, or the chain's native coin, which has no contract."""

    symbol: str
    decimals: int
    contract: str = ""


NATIVE = Coin("ETH", 18)
# FAKE is worthless although it calls itself a stablecoin: anyone can deploy such a contract.
TOKENS = (
    Coin("USDC", 6, "0xC2F79a14F43B0A022395b19Ff9fD5343b92371ED"),
    Coin("USDT", 6, "0x53e84F5868Dbc00AEE00Fd0a02FA18Ee18Ae0F0c"),
    Coin("DAI", 18, "0xf94E3B2bb2886e8c3a440bA453151E70498Ad2f2"),
    Coin("FAKE", 6, "0x680C39701e5b78443f1d85E14Bba095c76C101C6"),
)
COINS: Mapping[str, Coin] = {coin.symbol: coin for coin in (NATIVE, *TOKENS)}
