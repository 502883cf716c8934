"""The settings of the account at Stripe."""

from dataclasses import dataclass

from adlib.clock import Clock
from adlib.config import Environment
from adlib.db import Database
from payment_service.providers.protocol import Provider, ProviderKind
from payment_service.providers.stripe.client import StripeApi
from payment_service.providers.stripe.deposits import StripeDeposits
from payment_service.providers.stripe.refunds import StripeRefunds
from payment_service.providers.stripe.webhooks import StripeWebhooks

NAME = "STRIPE"
_DEFAULT_API_BASE = "https://api.stripe.com"


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """The account at Stripe."""

    api_key: str
    webhook_secret: str
    api_base: str

    def provider(self, _db: Database, clock: Clock, *, takes_payments: bool = True) -> Provider:
        """Connects to the account."""
        if not takes_payments:
            return Provider(name=NAME)
        api = StripeApi(self.api_key, self.api_base, clock)
        webhooks = StripeWebhooks(api, self.webhook_secret)
        return Provider(
            name=NAME,
            payments=StripeDeposits(api),
            refunds=StripeRefunds(api, clock),
            webhooks=webhooks,
            missed_events=webhooks,
        )


def read(environment: Environment) -> StripeSettings:
    """Reads the settings; ConfigurationError naming the variable that is missing."""
    return StripeSettings(
        api_key=environment.text("STRIPE_API_KEY"),
        webhook_secret=environment.secret("STRIPE_WEBHOOK_SECRET", 8),
        api_base=environment.text("STRIPE_API_BASE", _DEFAULT_API_BASE).rstrip("/"),
    )


KIND = ProviderKind(NAME, "Card", read, is_default=True)
