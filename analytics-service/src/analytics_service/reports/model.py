"""Cutting a span of time into a series without gaps, and the ratios of what is in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import Enum
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from adlib.errors import InvalidField

DEFAULT_SPAN = timedelta(days=30)
# Nothing was tracked before, and local time can be told for all of it.
_FIRST_YEAR, _LAST_YEAR = 2000, 2100
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


class Granularity(Enum):
    """How finely a series is cut; the value is the longest span that may be cut so."""

    HOUR = timedelta(days=31)
    DAY = timedelta(days=1098)


def time_zone(name: str) -> ZoneInfo:
    """The zone of this IANA name, UTC where it is empty; INVALID_FIELD."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidField("timeZone", f"is {name!r}, which is no IANA name such as Europe/Warsaw") from None


@dataclass(frozen=True, slots=True)
class Span:
    """The time that a report looks at, [start, end), and how it is cut."""

    start: datetime
    end: datetime
    granularity: Granularity
    zone: ZoneInfo

    @classmethod
    def of(
        cls, start: datetime | None, end: datetime | None, granularity: Granularity, zone: ZoneInfo, now: datetime
    ) -> Self:
        """The span asked for: 30 days up to now, where it is not said otherwise; INVALID_FIELD."""
        for field, instant in (("startTime", start), ("endTime", end)):
            if instant and not _FIRST_YEAR <= instant.year < _LAST_YEAR:
                raise InvalidField(field, f"must be between the years {_FIRST_YEAR} and {_LAST_YEAR}")
        ends = end or now
        starts = start or ends - DEFAULT_SPAN
        if starts >= ends:
            raise InvalidField("startTime", "must be before endTime, which is now unless given")
        if ends - starts > granularity.value:
            raise InvalidField(
                "startTime", f"is too far from endTime: by the {granularity.name} at most {granularity.value.days} days"
            )
        return cls(starts, ends, granularity, zone)

    def edges(self) -> Sequence[datetime]:
        """Where the points begin, in UTC: the start, then every full hour or midnight of the zone; last, the end."""
        following = _next_hour if self.granularity is Granularity.HOUR else _next_midnight
        edges = [self.start]
        while (edge := following(edges[-1], self.zone)) < self.end:
            edges.append(edge)
        return [*edges, self.end]


def _next_hour(at: datetime, zone: ZoneInfo) -> datetime:
    local = at.astimezone(zone)
    return at + _HOUR - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)


def _next_midnight(at: datetime, zone: ZoneInfo) -> datetime:
    tomorrow = at.astimezone(zone).date() + _DAY
    return datetime.combine(tomorrow, time(), zone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Ratios:
    """What follows from sums; money in micros, rounded half up; a ratio over nothing is 0."""

    ctr: float
    cvr: float
    cpm_micros: int
    cpc_micros: int
    cpa_micros: int


def ratios(*, impressions: int, clicks: int, conversions: int, spend_micros: int) -> Ratios:
    """The usual ones: clicks an impression, conversions a click, cost a mille, a click, an action."""
    return Ratios(
        ctr=clicks / impressions if impressions else 0.0,
        cvr=conversions / clicks if clicks else 0.0,
        cpm_micros=_cost(spend_micros * 1000, impressions),
        cpc_micros=_cost(spend_micros, clicks),
        cpa_micros=_cost(spend_micros, conversions),
    )


def _cost(micros: int, count: int) -> int:
    return (2 * micros + count) // (2 * count) if count else 0
