"""Delivery figures that ad networks report."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

# A day (UTC) and a zone id; '' where the network names no zone.
Slot = tuple[date, str]


@dataclass(frozen=True, slots=True)
class Figures:
    """Cumulative figures of delivery; money is in micros of the campaign's currency."""

    impressions: int = 0
    clicks: int = 0
    conversions: int = 0
    spend_micros: int = 0

    def at_least(self, other: "Figures") -> "Figures":
        """The greater of each figure: a network may lower a reported figure, and the highest one counts."""
        return Figures(
            max(self.impressions, other.impressions),
            max(self.clicks, other.clicks),
            max(self.conversions, other.conversions),
            max(self.spend_micros, other.spend_micros),
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """A campaign's figures at one network; `spent_micros` is the amount that the ledger has posted."""

    network: str
    impressions: int = 0
    clicks: int = 0
    conversions: int = 0
    spent_micros: int = 0
    synced_at: datetime | None = None


def increases(stored: Mapping[Slot, Figures], reported: Mapping[Slot, Figures]) -> dict[Slot, Figures]:
    """The slots where a reported figure exceeds the stored one, with their new figures."""
    changed: dict[Slot, Figures] = {}
    for slot, figures in reported.items():
        before = stored.get(slot, Figures())
        if (now := figures.at_least(before)) != before:
            changed[slot] = now
    return changed
