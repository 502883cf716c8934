"""What the warehouse keeps, and what it adds up. Times are micros since the epoch; money is micros of a currency."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TrackedEvent:
    """An impression, click or conversion."""

    event_id: str
    type: str
    time_micros: int
    organization_id: str
    campaign_id: str
    pixel_id: str
    zone_id: str
    click_id: str
    goal: str
    transaction_id: str
    value_micros: int
    currency_code: str
    visitor_id: str
    user_agent: str
    referrer: str


@dataclass(frozen=True, slots=True)
class Spend:
    """What the ledger took for a campaign."""

    event_id: str
    time_micros: int
    organization_id: str
    campaign_id: str
    network: str
    zone_id: str
    amount_micros: int
    currency_code: str


@dataclass(frozen=True, slots=True)
class Sums:
    """What a span of time adds up to."""

    impressions: int = 0
    clicks: int = 0
    conversions: int = 0
    unique_users: int = 0
    spend_micros: int = 0
    revenue_micros: int = 0


@dataclass(frozen=True, slots=True)
class CampaignSpans:
    """Which sums are asked for: of one campaign, in its currency, for the spans between consecutive `edges_micros`."""

    organization_id: str
    campaign_id: str
    currency_code: str
    edges_micros: Sequence[int]


@dataclass(frozen=True, slots=True)
class CampaignSums:
    """The sums of all spans together, and of each that has any by the edge it begins with."""

    total: Sums
    spans: Mapping[int, Sums]


class Warehouse(Protocol):
    """Keeps events for ever and adds them up. UNAVAILABLE while it cannot."""

    def add_events(self, events: Sequence[TrackedEvent]) -> int:
        """Stores those that are not there yet, all or none; how many. They are durable when this returns."""
        ...

    def add_spend(self, spend: Sequence[Spend]) -> int:
        """Stores those that are not there yet, all or none; how many. They are durable when this returns."""
        ...

    def sums(self, spans: CampaignSpans) -> CampaignSums:
        """What was there at one moment; a visitor of two spans is one in the total."""
        ...
