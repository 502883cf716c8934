"""Addresses, amounts and settings of chains."""

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from bip_utils import Bip39SeedGenerator, Bip44, Bip44Changes, Bip44Coins
from hypothesis import given
from hypothesis import strategies as some

from adlib.config import ConfigurationError, Environment
from payment_service.providers.crypto import settings
from payment_service.providers.crypto.addresses.model import (
    AddressChecksumInvalid,
    Addresses,
    AddressInvalid,
    checked,
)
from payment_service.providers.crypto.client import Network
from payment_service.providers.crypto.deposits import CryptoDeposits
from payment_service.providers.crypto.model import (
    ChainNotAvailable,
    Coin,
    CoinHasNoRate,
    TokenNotAvailable,
    amount_worth,
    worth_micros,
)
from payment_service.providers.crypto.valuation.service import ConfiguredRates

# The common test mnemonic (BIP-39), and its first addresses as wallets derive them.
MNEMONIC = "test test test test test test test test test test test junk"
FIRST = ("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
# From EIP-55.
RIGHT = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
USDC = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"


def account() -> Bip44:
    return Bip44.FromSeed(Bip39SeedGenerator(MNEMONIC).Generate(), Bip44Coins.ETHEREUM).Purpose().Coin().Account(0)


XPUB = str(account().PublicKey().ToExtended())


def test_derived_addresses_equal_those_of_a_wallet() -> None:
    addresses = Addresses(XPUB)
    assert tuple(addresses.at(number) for number in range(2)) == FIRST
    private = account().Change(Bip44Changes.CHAIN_EXT)
    assert [addresses.at(number) for number in (7, 2**31 - 1)] == [
        str(private.AddressIndex(number).PublicKey().ToAddress()) for number in (7, 2**31 - 1)
    ]


def test_private_key_is_refused_and_not_repeated_in_the_error() -> None:
    xprv = str(account().PrivateKey().ToExtended())
    with pytest.raises(ConfigurationError, match="extended PRIVATE key") as refused:
        read(chains(), xprv)
    assert xprv not in str(refused.value)


@pytest.mark.parametrize(
    "key",
    ["xpub", "xpub" + "1" * 107, XPUB[:-1] + ("a" if XPUB[-1] != "a" else "b"), FIRST[0]],
    ids=["prefix", "nonsense", "checksum", "address"],
)
def test_invalid_extended_public_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match="CRYPTO_XPUB"):
        read(chains(), key)


def test_key_of_another_level_is_refused() -> None:
    master = Bip44.FromSeed(Bip39SeedGenerator(MNEMONIC).Generate(), Bip44Coins.ETHEREUM)
    with pytest.raises(ConfigurationError, match="not the key of an account"):
        read(chains(), str(master.PublicKey().ToExtended()))


@pytest.mark.parametrize("text", [RIGHT, RIGHT.lower(), "0x" + RIGHT[2:].upper()], ids=["mixed", "lower", "upper"])
def test_address_is_returned_with_its_checksum(text: str) -> None:
    assert checked(text) == RIGHT


@pytest.mark.parametrize("at", [3, 20, 40])
def test_wrong_case_of_a_letter_is_a_checksum_error(at: int) -> None:
    at = next(index for index in range(at, len(RIGHT)) if RIGHT[index].isalpha())
    with pytest.raises(AddressChecksumInvalid):
        checked(RIGHT[:at] + RIGHT[at].swapcase() + RIGHT[at + 1 :])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "Bitcoin"),
        ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "Bitcoin"),
        ("TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", "Tron"),
        ("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "Solana"),
        ("rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh", "XRP"),
        ("ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n9", "Litecoin"),
        ("vitalik.eth", "a name"),
        ("0x" + "ab" * 32, "transaction hash"),
    ],
)
def test_address_of_another_kind_of_chain_is_named(text: str, kind: str) -> None:
    with pytest.raises(AddressInvalid, match=kind):
        checked(text)


@pytest.mark.parametrize(
    "text",
    ["hello", RIGHT[:-1], RIGHT + "0", RIGHT[2:], "0X" + RIGHT[2:], "0x" + "g" * 40, "0x" + "0" * 40, " " + RIGHT],
)
def test_invalid_address_is_refused(text: str) -> None:
    with pytest.raises(AddressInvalid):
        checked(text)


@given(some.text())
def test_any_text_is_an_address_or_is_refused(text: str) -> None:
    with suppress(AddressInvalid, AddressChecksumInvalid):
        assert checked(text).lower() == text.lower()


RATES = some.decimals(min_value="0.0001", max_value="100000", places=8, allow_nan=False)


@given(some.integers(1, 10**15), some.integers(0, 24), RATES)
def test_shown_amount_is_the_smallest_that_is_worth_the_payment(micros: int, decimals: int, rate: Decimal) -> None:
    coin = Coin("X", decimals, {"USD": rate})
    amount = amount_worth(micros, coin, rate)
    assert worth_micros(amount, coin, rate) >= micros
    assert worth_micros(amount - 1, coin, rate) < micros


def test_stablecoin_is_worth_its_face_value() -> None:
    for decimals in (6, 18):
        coin = Coin("X", decimals, {"USD": Decimal(1)})
        assert amount_worth(12_345_678, coin, Decimal(1)) == 12_345_678 * 10 ** (decimals - 6)
        assert worth_micros(2**255, coin, Decimal(1)) == 2**255 // 10 ** (decimals - 6)


def chains(**changes: Any) -> list[dict[str, Any]]:
    chain = {
        "chain_id": 1,
        "name": "Ethereum",
        "rpc_url": "https://node.example/key",
        "confirmations": 12,
        "tokens": [{"symbol": "USDC", "contract": USDC, "decimals": 6}],
        "native": {"symbol": "ETH", "decimals": 18, "rates": {"USD": "2500.5", "EUR": 2300.25}},
    }
    return [{**chain, **changes}]


def read(configured: object, xpub: str = XPUB) -> settings.CryptoSettings:
    return settings.read(Environment({"CRYPTO_XPUB": xpub, "CRYPTO_CHAINS": json.dumps(configured)}))


def test_chains_and_coins_are_read_from_the_environment() -> None:
    (chain,) = read(chains()).chains
    assert [coin.symbol for coin in chain.coins] == ["USDC", "ETH"]
    assert (chain.coins[0].rates, chain.coins[1].rates["EUR"]) == ({"USD": Decimal(1)}, Decimal("2300.25"))
    assert chain.coins[0].valid_for > chain.coins[1].valid_for


@pytest.mark.parametrize(
    ("configured", "why"),
    [
        ([], "a list of chains"),
        ({}, "a list of chains"),
        (["x"], "must be an object"),
        (chains() * 2, "twice"),
        (chains(rpc_url="ftp://x"), "rpc_url"),
        (chains(confirmations=0), "confirmations"),
        (chains(confirmations=True), "confirmations"),
        (chains(chain_id=None), "chain_id"),
        (chains(confirmation=3), "has no confirmation"),
        (chains(tokens=[], native=None), "needs coins"),
        (chains(native={"symbol": "ETH", "decimals": 18}), "needs rates"),
        (chains(native={"symbol": "ETH", "decimals": 18, "rates": {"USD": 0}}), "above zero"),
        (chains(native={"symbol": "ETH", "decimals": 18, "rates": {"USD": "NaN"}}), "above zero"),
        (chains(native={"symbol": "ETH", "contract": USDC, "decimals": 18, "rates": {"USD": 1}}), "no contract"),
        (chains(tokens=[{"symbol": "USDC", "decimals": 6}]), "needs a contract"),
        (
            chains(tokens=[{"symbol": "USDC", "contract": USDC.swapcase().replace("0X", "0x"), "decimals": 6}]),
            "checksum",
        ),
        (chains(tokens=[{"symbol": "U S", "contract": USDC, "decimals": 6}]), "symbol"),
        (chains(tokens=[{"symbol": "USDC", "contract": USDC, "decimals": 99}]), "decimals"),
    ],
    ids=range(18),
)
def test_invalid_setting_is_named(configured: object, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        read(configured)


def test_missing_or_malformed_variable_is_named() -> None:
    with pytest.raises(ConfigurationError, match="CRYPTO_XPUB is not set"):
        settings.read(Environment({}))
    with pytest.raises(ConfigurationError, match="CRYPTO_CHAINS is not JSON"):
        settings.read(Environment({"CRYPTO_XPUB": XPUB, "CRYPTO_CHAINS": "{"}))


@pytest.fixture
def crypto() -> CryptoDeposits:
    """The provider without a database, since validating a choice makes no call."""
    found = read(chains())
    return CryptoDeposits(Network(found.chains), None, found.addresses, ConfiguredRates(), None)


def test_choice_is_completed_with_defaults(crypto: CryptoDeposits) -> None:
    assert crypto.validate({}, "USD") == {"chain_id": 1, "token": "USDC", "refund_address": ""}
    chosen = {"chain_id": 1, "token": "eth", "refund_address": RIGHT.lower()}
    assert crypto.validate(chosen, "EUR") == {"chain_id": 1, "token": "ETH", "refund_address": RIGHT}


@pytest.mark.parametrize(
    ("choice", "currency", "error"),
    [
        ({"chain_id": 137}, "USD", ChainNotAvailable),
        ({"token": "DOGE"}, "USD", TokenNotAvailable),
        ({"token": "USDC"}, "EUR", CoinHasNoRate),
        ({"refund_address": "me"}, "USD", AddressInvalid),
        ({"refund_address": USDC}, "USD", AddressInvalid),
        ({"refund_address": RIGHT.swapcase().replace("0X", "0x")}, "USD", AddressChecksumInvalid),
    ],
    ids=range(6),
)
def test_unavailable_choice_is_refused(
    crypto: CryptoDeposits, choice: dict[str, Any], currency: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        crypto.validate(choice, currency)


def test_chains_have_no_webhooks_and_no_missed_events() -> None:
    provider = read(chains()).provider(None, None)
    assert (provider.webhooks, provider.missed_events, provider.payouts) == (None, None, None)


def test_rate_in_a_currency_without_wallets_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigurationError, match="CHF is not supported"):
        read(chains(native={"symbol": "ETH", "decimals": 18, "rates": {"CHF": "2500"}}))
