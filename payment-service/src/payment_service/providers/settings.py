"""Which providers are configured: for deposits, and for payouts.

The contract's enum Provider lists the providers; each has a folder of its name here, whose settings.py declares a KIND.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from adplatform.payment.v1 import payment_pb2 as pb

from adlib.clock import Clock
from adlib.config import ConfigurationError, Environment
from adlib.db import Database
from payment_service.providers.protocol import ProviderKind, Settings
from payment_service.providers.service import ProviderRegistry


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """The settings of each configured provider, by name.

    `deposits`: those that customers can pay with. `payouts`: the one that payouts are sent by.
    """

    by_name: Mapping[str, Settings]
    deposits: tuple[str, ...]
    payouts: str

    def registry(self, db: Database, clock: Clock) -> ProviderRegistry:
        """Connects to the providers."""
        return ProviderRegistry(
            settings.provider(db, clock, takes_payments=name in self.deposits)
            for name, settings in self.by_name.items()
        )


def kinds() -> Mapping[str, ProviderKind]:
    """Every provider of the contract, by name."""
    names = [name for name, number in pb.Provider.items() if number != pb.PROVIDER_UNSPECIFIED]
    return {name: _kind(name) for name in names}


def payment_methods() -> Mapping[str, str]:
    """The payment method of each provider of the contract, configured or not, as receipts print it."""
    return {name: kind.payment_method for name, kind in kinds().items()}


def read(environment: Environment) -> ProviderSettings:
    """Reads PAYMENT_PROVIDERS, PAYOUT_PROVIDER and the settings of the providers they name; ConfigurationError."""
    known = kinds()
    default = ",".join(name for name, kind in known.items() if kind.is_default)
    listed = environment.text("PAYMENT_PROVIDERS", default).split(",")
    deposits = tuple(name.strip() for name in listed if name.strip())
    if unknown := [name for name in deposits if name not in known]:
        raise ConfigurationError(f"PAYMENT_PROVIDERS names {', '.join(unknown)}; there are {', '.join(known)}")
    senders = [name for name, kind in known.items() if kind.sends_payouts]
    payouts = environment.text("PAYOUT_PROVIDER", senders[0])
    if payouts not in senders:
        raise ConfigurationError(f"PAYOUT_PROVIDER is {payouts}; payouts can be sent by {', '.join(senders)}")
    by_name = {name: known[name].read(environment) for name in dict.fromkeys((*deposits, payouts))}
    return ProviderSettings(by_name, deposits, payouts)


def _kind(name: str) -> ProviderKind:
    kind: ProviderKind = import_module(f"payment_service.providers.{name.lower()}.settings").KIND
    return kind
