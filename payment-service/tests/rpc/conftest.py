"""The service with all its providers, on a database that only one test uses."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import grpc
import pytest
from bip_utils import Bip44, Bip44Coins

from adlib.clock import SystemClock
from adlib.db import migrate
from adlib.money import CURRENCIES
from adsandbox.chain.coins import CHAIN_ID, COINS
from payment_service.__main__ import MIGRATIONS
from payment_service.ledger import store
from payment_service.ledger.model import Account, Kind
from payment_service.providers.crypto.addresses.model import Addresses
from payment_service.providers.crypto.model import Chain, Coin
from payment_service.providers.crypto.settings import CryptoSettings


class ProviderClock:
    """The real time plus the time that a test lets pass."""

    def __init__(self) -> None:
        self.passed = timedelta()

    def now(self) -> datetime:
        return SystemClock().now() + self.passed


@dataclass
class Platform:
    """The service with all its providers."""

    channel: grpc.Channel
    clock: ProviderClock
    url: str


@pytest.fixture
def wallet_currencies() -> tuple[str, ...]:
    """The billable currencies; a module that needs others overrides this fixture."""
    return CURRENCIES


@pytest.fixture
def platform(
    config,
    wallet_currencies,
    running_sandboxes,
    sandboxes,
    serve_payments,
    fresh_database,
) -> Iterator[Platform]:
    url = fresh_database("payment_outages", lambda url: migrate(url, *MIGRATIONS))
    account = Bip44.FromSeed(uuid4().bytes * 2, Bip44Coins.ETHEREUM).Purpose().Coin().Account(0)
    node = str(running_sandboxes.chain.base_url).rstrip("/")
    # USDT has a rate in dollars only.
    rates = {"USDC": {"USD": Decimal(1), "EUR": Decimal("0.92")}, "USDT": {"USD": Decimal(1)}}
    coins = [Coin(name, 6, of, COINS[name].contract) for name, of in rates.items()]
    crypto = CryptoSettings(
        Addresses(str(account.PublicKey().ToExtended())), (Chain(CHAIN_ID, "Sandbox", node, 3, coins, poll_s=0.05),)
    )
    settings = replace(
        config.providers,
        by_name={**config.providers.by_name, "CRYPTO": crypto},
        deposits=(*config.providers.deposits, "CRYPTO"),
    )
    clock = ProviderClock()
    changed = replace(config, database_url=url, providers=settings, wallet_currencies=wallet_currencies)
    with serve_payments(changed, clock) as channel:
        yield Platform(channel, clock, url)


@pytest.fixture
def bounce(sandboxes):
    """Sends a bank transfer back."""

    def ask(number: str, **body: object) -> None:
        sandboxes.wise.post(f"/sandbox/transfers/{number}/bounce", json=body).raise_for_status()

    return ask


@pytest.fixture
def suspended(db):
    """The balance of the suspense account of bank transfers."""
    account = Account(Kind.SUSPENSE, "USD", None, "WISE")
    return lambda: store.available(db, [account])[account]
