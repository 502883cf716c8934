"""Which chains and coins are taken, and the key that addresses are derived from."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from adlib.clock import Clock
from adlib.config import ConfigurationError, Environment
from adlib.db import Database
from adlib.money import CurrencyUnsupported, currency
from payment_service.providers.crypto.addresses import Addresses, checked
from payment_service.providers.crypto.model import AddressChecksumInvalid, AddressInvalid, Chain, Coin
from payment_service.providers.crypto.provider import Crypto
from payment_service.providers.crypto.rates import ConfiguredRates

_MOST_CONFIRMATIONS = 1_000
_KEYS = {
    "chain_id", "name", "rpc_url", "confirmations", "tokens", "native", "block_range", "poll_s", "start_block",
    "dust_micros", "stale_after_s", "head_age_s",
}  # fmt: skip
_COIN_KEYS = {"symbol", "contract", "decimals", "rates", "valid_for_s"}
# A stablecoin keeps its rate; that of a chain's own coin does not hold for long.
_TOKEN_FOR, _NATIVE_FOR = 24 * 3600, 3600
_STALE_AFTER_S, _HEAD_AGE_S = 120, 900


@dataclass(frozen=True, slots=True)
class CryptoSettings:
    """The chains, the first of them the one that is paid on unless another is chosen."""

    addresses: Addresses
    chains: tuple[Chain, ...]

    def provider(self, db: Database, clock: Clock) -> Crypto:
        """The provider."""
        return Crypto(db, self.addresses, self.chains, ConfiguredRates(), clock)


def read(environment: Environment) -> CryptoSettings:
    """ConfigurationError naming what is missing or wrong."""
    addresses = Addresses(environment.text("CRYPTO_XPUB"))
    try:
        found = json.loads(environment.text("CRYPTO_CHAINS"), parse_float=Decimal)
    except ValueError as error:
        raise ConfigurationError(f"CRYPTO_CHAINS is not JSON: {error}") from None
    if not isinstance(found, list) or not found:
        raise ConfigurationError("CRYPTO_CHAINS must be a list of chains, in JSON")
    chains = tuple(_chain(one) for one in found)
    if len({chain.chain_id for chain in chains}) < len(chains):
        raise ConfigurationError("CRYPTO_CHAINS names a chain twice")
    return CryptoSettings(addresses, chains)


def _chain(told: Any) -> Chain:
    _known(told, _KEYS, "a chain")
    name = str(told.get("name", told.get("chain_id")))
    coins = [_coin(one, name, is_native=False) for one in told.get("tokens", [])]
    if told.get("native"):
        coins.append(_coin(told["native"], name, is_native=True))
    if not coins or len({coin.symbol for coin in coins}) < len(coins):
        raise ConfigurationError(f"CRYPTO_CHAINS: {name} needs coins, each of its own symbol")
    if not str(told.get("rpc_url", "")).startswith(("http://", "https://")):
        raise ConfigurationError(f"CRYPTO_CHAINS: rpc_url of {name} must be an http or https URL")
    return Chain(
        chain_id=_integer(told, "chain_id", name, 1, 2**63 - 1),
        name=name,
        rpc_url=told["rpc_url"],
        confirmations=_integer(told, "confirmations", name, 1, _MOST_CONFIRMATIONS),
        coins=tuple(coins),
        block_range=_integer(told, "block_range", name, 1, 1_000, 500),
        poll_s=float(_number(told.get("poll_s", 5), f"poll_s of {name}")),
        start_block=_integer(told, "start_block", name, 0, 2**53) if "start_block" in told else None,
        dust_micros=_integer(told, "dust_micros", name, 1, 10**9, 10_000),
        stale_after_s=_integer(told, "stale_after_s", name, 1, 86_400, _STALE_AFTER_S),
        head_age_s=_integer(told, "head_age_s", name, 0, 7 * 86_400, _HEAD_AGE_S),
    )


def _coin(told: Any, chain: str, *, is_native: bool) -> Coin:
    _known(told, _COIN_KEYS, f"a coin of {chain}")
    symbol, contract = str(told.get("symbol", "")), str(told.get("contract", ""))
    what = f"{symbol} of {chain}"
    if not re.fullmatch(r"[A-Za-z0-9.]{1,16}", symbol):
        raise ConfigurationError(f"CRYPTO_CHAINS: a coin of {chain} needs a symbol of up to 16 letters and digits")
    if is_native == bool(contract):
        raise ConfigurationError(f"CRYPTO_CHAINS: {what} needs {'no' if is_native else 'a'} contract")
    try:
        contract = contract and checked(contract)
    except (AddressInvalid, AddressChecksumInvalid) as error:
        raise ConfigurationError(f"CRYPTO_CHAINS: the contract of {what}: {error.message}") from None
    rates = told.get("rates") or ({} if is_native else {"USD": 1})
    if not isinstance(rates, Mapping) or not rates:
        raise ConfigurationError(f'CRYPTO_CHAINS: {what} needs rates, such as {{"USD": "1"}}')
    return Coin(
        symbol=symbol,
        decimals=_integer(told, "decimals", what, 0, 36),
        rates={_currency(code, what): _number(rate, f"the rate of {what}") for code, rate in rates.items()},
        contract=contract,
        valid_for=timedelta(
            seconds=_integer(told, "valid_for_s", what, 60, 30 * 86400, _NATIVE_FOR if is_native else _TOKEN_FOR)
        ),
    )


def _known(told: Any, keys: set[str], what: str) -> None:
    if not isinstance(told, Mapping):
        raise ConfigurationError(f"CRYPTO_CHAINS: {what} must be an object")
    if unknown := told.keys() - keys:
        raise ConfigurationError(f"CRYPTO_CHAINS: {what} has no {', '.join(sorted(unknown))}")


def _integer(told: Mapping[str, Any], key: str, what: str, least: int, most: int, default: int | None = None) -> int:
    value = told.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigurationError(f"CRYPTO_CHAINS: {key} of {what} must be a whole number from {least} to {most}")
    return value


def _currency(code: Any, what: str) -> str:
    try:
        return currency(str(code))
    except CurrencyUnsupported as error:
        raise ConfigurationError(f"CRYPTO_CHAINS: the rates of {what}: {error.message}") from None


def _number(value: Any, what: str) -> Decimal:
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or not 0 < found < 10**9:
        raise ConfigurationError(f"CRYPTO_CHAINS: {what} must be a number above zero")
    return found
