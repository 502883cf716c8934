"""The accepted chains and coins, and the key that addresses are derived from."""

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
from payment_service.providers.crypto.addresses.model import (
    AddressChecksumInvalid,
    Addresses,
    AddressInvalid,
    checked,
)
from payment_service.providers.crypto.client import Network
from payment_service.providers.crypto.deposits import CryptoDeposits
from payment_service.providers.crypto.model import NAME, Chain, Coin
from payment_service.providers.crypto.refunds import CryptoRefunds
from payment_service.providers.crypto.valuation.service import ConfiguredRates
from payment_service.providers.protocol import Provider, ProviderKind

_MAX_CONFIRMATIONS = 1_000
_CHAIN_KEYS = {
    "chain_id", "name", "rpc_url", "confirmations", "tokens", "native", "block_range", "poll_s", "start_block",
    "dust_micros", "stale_after_s", "head_age_s",
}  # fmt: skip
_COIN_KEYS = {"symbol", "contract", "decimals", "rates", "valid_for_s"}
# How long a rate is valid: a stablecoin's rate hardly changes, a native coin's changes quickly.
_TOKEN_RATE_VALID_S, _NATIVE_RATE_VALID_S = 24 * 3600, 3600
_DEFAULT_STALE_AFTER_S, _DEFAULT_HEAD_AGE_S = 120, 900


@dataclass(frozen=True, slots=True)
class CryptoSettings:
    """The chains, the default one first, and the key that addresses are derived from."""

    addresses: Addresses
    chains: tuple[Chain, ...]

    def provider(self, db: Database, clock: Clock, *, takes_payments: bool = True) -> Provider:
        """Connects to the chains' nodes."""
        if not takes_payments:
            return Provider(name=NAME)
        network = Network(self.chains)
        deposits = CryptoDeposits(network, db, self.addresses, ConfiguredRates(), clock)
        return Provider(
            name=NAME,
            payments=deposits,
            refunds=CryptoRefunds(network, db),
            background=deposits,
            closing=(network.close,),
        )


def read(environment: Environment) -> CryptoSettings:
    """Reads the settings; ConfigurationError naming the variable that is missing or wrong."""
    try:
        addresses = Addresses(environment.text("CRYPTO_XPUB"))
    except ValueError as error:
        raise ConfigurationError(f"CRYPTO_XPUB {error}") from None
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


KIND = ProviderKind(NAME, "Crypto", read)


def _chain(found: Any) -> Chain:
    _check_keys(found, _CHAIN_KEYS, "a chain")
    name = str(found.get("name", found.get("chain_id")))
    coins = [_coin(one, name, is_native=False) for one in found.get("tokens", [])]
    if found.get("native"):
        coins.append(_coin(found["native"], name, is_native=True))
    if not coins or len({coin.symbol for coin in coins}) < len(coins):
        raise ConfigurationError(f"CRYPTO_CHAINS: {name} needs coins, each of its own symbol")
    if not str(found.get("rpc_url", "")).startswith(("http://", "https://")):
        raise ConfigurationError(f"CRYPTO_CHAINS: rpc_url of {name} must be an http or https URL")
    return Chain(
        chain_id=_integer(found, "chain_id", name, 1, 2**63 - 1),
        name=name,
        rpc_url=found["rpc_url"],
        confirmations=_integer(found, "confirmations", name, 1, _MAX_CONFIRMATIONS),
        coins=tuple(coins),
        block_range=_integer(found, "block_range", name, 1, 1_000, 500),
        poll_s=float(_number(found.get("poll_s", 5), f"poll_s of {name}")),
        start_block=_integer(found, "start_block", name, 0, 2**53) if "start_block" in found else None,
        dust_micros=_integer(found, "dust_micros", name, 1, 10**9, 10_000),
        stale_after_s=_integer(found, "stale_after_s", name, 1, 86_400, _DEFAULT_STALE_AFTER_S),
        head_age_s=_integer(found, "head_age_s", name, 0, 7 * 86_400, _DEFAULT_HEAD_AGE_S),
    )


def _coin(found: Any, chain: str, *, is_native: bool) -> Coin:
    _check_keys(found, _COIN_KEYS, f"a coin of {chain}")
    symbol, contract = str(found.get("symbol", "")), str(found.get("contract", ""))
    what = f"{symbol} of {chain}"
    if not re.fullmatch(r"[A-Za-z0-9.]{1,16}", symbol):
        raise ConfigurationError(f"CRYPTO_CHAINS: a coin of {chain} needs a symbol of up to 16 letters and digits")
    if is_native == bool(contract):
        raise ConfigurationError(f"CRYPTO_CHAINS: {what} needs {'no' if is_native else 'a'} contract")
    try:
        contract = contract and checked(contract)
    except (AddressInvalid, AddressChecksumInvalid) as error:
        raise ConfigurationError(f"CRYPTO_CHAINS: the contract of {what}: {error.message}") from None
    rates = found.get("rates") or ({} if is_native else {"USD": 1})
    if not isinstance(rates, Mapping) or not rates:
        raise ConfigurationError(f'CRYPTO_CHAINS: {what} needs rates, such as {{"USD": "1"}}')
    return Coin(
        symbol=symbol,
        decimals=_integer(found, "decimals", what, 0, 36),
        rates={_currency(code, what): _number(rate, f"the rate of {what}") for code, rate in rates.items()},
        contract=contract,
        valid_for=timedelta(
            seconds=_integer(
                found, "valid_for_s", what, 60, 30 * 86400, _NATIVE_RATE_VALID_S if is_native else _TOKEN_RATE_VALID_S
            )
        ),
    )


def _check_keys(found: Any, keys: set[str], what: str) -> None:
    if not isinstance(found, Mapping):
        raise ConfigurationError(f"CRYPTO_CHAINS: {what} must be an object")
    if unknown := found.keys() - keys:
        raise ConfigurationError(f"CRYPTO_CHAINS: {what} has no {', '.join(sorted(unknown))}")


def _integer(found: Mapping[str, Any], key: str, what: str, least: int, most: int, default: int | None = None) -> int:
    value = found.get(key, default)
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
