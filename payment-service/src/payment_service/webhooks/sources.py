"""Where events come from."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from payment_service.providers.protocol import Event, Header, PayoutReport


class Source(Protocol):
    """What tells of events; see Provider."""

    def event(self, body: bytes, header: Header) -> Event:
        """What a webhook says; SIGNATURE_INVALID."""
        ...

    def read(self, body: bytes) -> Event:
        """What a body says whose signature was right when it came."""
        ...

    def missed(self, since: datetime) -> Iterable[Event]:
        """What happened since then, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class PayoutsOnly:
    """A bank that pays payouts and that nobody pays by: what else happens on its account is none of our business."""

    bank: Source

    def event(self, body: bytes, header: Header) -> Event:
        """What a webhook says of payouts; SIGNATURE_INVALID."""
        return _of_payouts(self.bank.event(body, header))

    def read(self, body: bytes) -> Event:
        """What a body says of payouts whose signature was right when it came."""
        return _of_payouts(self.bank.read(body))

    def missed(self, _since: datetime) -> Iterable[Event]:
        """Nothing: the bank is asked about each payout."""
        return ()


def _of_payouts(event: Event) -> Event:
    return replace(event, news=[news for news in event.news or () if isinstance(news, PayoutReport)])
