"""What sends money out, whichever it is."""

from dataclasses import dataclass
from typing import Protocol

from payment_service.payouts.model import Payout, State


class Refused(Exception):
    """The bank will not do that, however often it is asked; the message is the bank's own."""


class QuoteUnusable(Refused):
    """The quote has expired or was used: a new one is needed."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a bank's transfer stands, as the payout's state; SENDING: it waits for its money.

    `returned_micros`: what of a FAILED one has come back; None: all of it, or nothing had left.
    """

    state: State
    reason: str = ""
    returned_micros: int | None = None


class Bank(Protocol):
    """Sends a payout in four steps, each safe to repeat. Every one raises UNAVAILABLE where it cannot be done now."""

    name: str

    def recipient(self, payout: Payout) -> str:
        """Makes the payout's bank account known; its id. `Refused` where it is no account."""
        ...

    def quote(self, payout: Payout) -> str:
        """Asks for a transfer of exactly the payout's amount; the quote's id. `Refused`."""
        ...

    def transfer(self, payout: Payout) -> str:
        """Makes the transfer, once for the payout's id; its id. `Refused`, `QuoteUnusable`."""
        ...

    def fund(self, payout: Payout) -> None:
        """Pays for the transfer, once."""
        ...

    def standing(self, payout: Payout) -> Standing:
        """How the transfer stands."""
        ...
