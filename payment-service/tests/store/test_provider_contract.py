"""The guarantees of every provider's capabilities."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from adlib.clock import SystemClock
from adlib.errors import InvalidArgument
from adlib.ids import new_id
from adsandbox.chain.coins import CHAIN_ID, COINS
from payment_service.payments.model import Payment, State
from payment_service.providers.crypto.addresses.model import Addresses
from payment_service.providers.crypto.model import Chain, Coin
from payment_service.providers.crypto.settings import CryptoSettings
from payment_service.providers.model import RefundNotSeen, SignatureInvalid
from payment_service.providers.protocol import Provider
from payment_service.providers.settings import kinds

every_provider = pytest.mark.parametrize("name", sorted(kinds()))


@pytest.fixture
def provider_of(config, db, chain, xpub) -> Callable[[str], Provider]:
    """Each provider of the contract, connected to its sandbox."""
    coins = [Coin("USDC", 6, {"USD": Decimal(1)}, COINS["USDC"].contract)]
    chains = (Chain(CHAIN_ID, "Sandbox", chain.url, 3, coins),)
    by_name = {**config.providers.by_name, "CRYPTO": CryptoSettings(Addresses(xpub), chains)}
    return lambda name: by_name[name].provider(db, SystemClock())


def payment_with(provider: Provider) -> Payment:
    """A payment that is not opened yet, with the provider's default choice."""
    now = datetime.now(UTC)
    choice = {**provider.payments.validate({}, "USD"), "refund_address": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"}
    return Payment(
        id=new_id(),
        organization_id=uuid4(),
        provider=provider.name,
        state=State.PENDING,
        amount_micros=500_000_000,
        currency_code="USD",
        idempotency_key=None,
        external_id=None,
        created_at=now,
        updated_at=now,
        choice=choice,
    )


@every_provider
def test_provider_has_its_contract_name(provider_of, name: str) -> None:
    assert provider_of(name).name == name


@every_provider
def test_opening_a_payment_is_idempotent(provider_of, name: str) -> None:
    provider = provider_of(name)
    payment = payment_with(provider)
    first, second = provider.payments.open(payment), provider.payments.open(payment)
    assert first.external_id == second.external_id
    assert (first.state, first.incoming) == (State.PENDING, ())
    assert first.instructions == second.instructions != {}


@every_provider
def test_opened_payment_can_be_looked_up_and_closed(provider_of, name: str) -> None:
    provider = provider_of(name)
    payment = payment_with(provider)
    opened = replace(payment, external_id=provider.payments.open(payment).external_id)
    for report, state in (
        (provider.payments.look_up(opened), State.PENDING),
        (provider.payments.close(opened), State.EXPIRED),
    ):
        assert (report.external_id, report.state, list(report.incoming)) == (opened.external_id, state, [])


@every_provider
def test_unknown_manual_refund_is_not_seen(provider_of, name: str) -> None:
    provider = provider_of(name)
    payment = payment_with(provider)
    provider.payments.open(payment)
    if provider.refunds.manual:
        for sent_as in ("", "nonsense", "0x" + "ab" * 32):
            with pytest.raises(RefundNotSeen):
                provider.refunds.manual.find(payment, 1, sent_as)


@every_provider
def test_unsigned_webhook_is_refused(provider_of, name: str) -> None:
    webhooks = provider_of(name).webhooks
    if webhooks:
        with pytest.raises(SignatureInvalid):
            webhooks.verify(b"{}", lambda _: "")
        with pytest.raises(InvalidArgument):
            webhooks.parse(b"{")


@every_provider
def test_future_start_lists_no_missed_events(provider_of, name: str) -> None:
    events = provider_of(name).missed_events
    assert not (events and list(events.missed_events(datetime.now(UTC) + timedelta(days=1))))
