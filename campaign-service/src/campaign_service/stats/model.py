"""What networks report, and what the ledger must be asked for because of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

# A day (UTC) and a zone id, '' where the network names no zone.
Slot = tuple[date, str]


@dataclass(frozen=True, slots=True)
class Figures:
    """Cumulative figures of delivery; money is in micros of the campaign's currency."""

    impressions: int = 0
    clicks: int = 0
    conversions: int = 0
    spend_micros: int = 0

    def at_least(self, other: "Figures") -> "Figures":
        """The greater of each: what a network has reported once it cannot take back."""
        return Figures(
            max(self.impressions, other.impressions),
            max(self.clicks, other.clicks),
            max(self.conversions, other.conversions),
            max(self.spend_micros, other.spend_micros),
        )


@dataclass(frozen=True, slots=True)
class Growth:
    """What a reading adds: slots whose figures grew, and the amounts to ask the ledger for."""

    figures: dict[Slot, Figures] = field(default_factory=dict)
    owed_micros: dict[Slot, int] = field(default_factory=dict)


def growth(known: Mapping[Slot, Figures], asked_micros: Mapping[Slot, int], read: Mapping[Slot, Figures]) -> Growth:
    """What a reading adds to the figures known and the amounts already asked for, whether or not they are posted."""
    grown = Growth()
    for slot, figures in read.items():
        before = known.get(slot, Figures())
        now = figures.at_least(before)
        if now != before:
            grown.figures[slot] = now
        if (owed := now.spend_micros - asked_micros.get(slot, 0)) > 0:
            grown.owed_micros[slot] = owed
    return grown


def within_room(owed_micros: Mapping[Slot, int], room_micros: int) -> Mapping[Slot, int]:
    """As much of these amounts as there is room for."""
    kept: dict[Slot, int] = {}
    for slot, owed in owed_micros.items():
        if (taken := min(owed, room_micros)) > 0:
            kept[slot] = taken
            room_micros -= taken
    return kept


@dataclass(frozen=True, slots=True)
class Delivery:
    """A campaign's figures at one network; `spent_micros` is what the ledger took."""

    network: str
    impressions: int = 0
    clicks: int = 0
    conversions: int = 0
    spent_micros: int = 0
    synced_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """What the ledger took; `asked_micros`: with what it was asked for or will be, and has not answered."""

    posted_micros: int
    asked_micros: int
