"""Where and as whom cards are charged."""

from dataclasses import dataclass

from adlib.clock import Clock
from adlib.config import Environment
from adlib.db import Database
from payment_service.providers.stripe.provider import Stripe

_API = "https://api.stripe.com"


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """The account at Stripe."""

    api_key: str
    webhook_secret: str
    api_base: str

    def provider(self, _db: Database, clock: Clock) -> Stripe:
        """Stripe, as this account."""
        return Stripe(self.api_key, self.api_base, self.webhook_secret, clock)


def read(environment: Environment) -> StripeSettings:
    """ConfigurationError naming what is missing."""
    return StripeSettings(
        api_key=environment.text("STRIPE_API_KEY"),
        webhook_secret=environment.secret("STRIPE_WEBHOOK_SECRET", 8),
        api_base=environment.text("STRIPE_API_BASE", _API).rstrip("/"),
    )
