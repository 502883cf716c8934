"""What carries money in, whichever it is."""

from typing import Protocol

from payment_service.payments.model import Payment, Report


class Provider(Protocol):
    """Takes customers' payments. Everything raises UNAVAILABLE where it does not answer in time."""

    def open(self, payment: Payment) -> Report:
        """Opens the payment, once for its id however often it is asked; PROVIDER_REJECTED."""
        ...

    def look_up(self, external_id: str) -> Report:
        """How a payment stands; PROVIDER_REJECTED where the provider does not know it."""
        ...

    def close(self, external_id: str) -> Report:
        """Makes sure that a payment that is still open cannot be paid any more; how it stands then."""
        ...
