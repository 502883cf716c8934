"""Time ranges, how a range is divided into a series, and the ratios of a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import Enum
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from adlib.errors import InvalidField

DEFAULT_RANGE = timedelta(days=30)
# The platform has no events from before 2000, and every time zone can represent these years.
_FIRST_YEAR, _LAST_YEAR = 2000, 2100
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


class Granularity(Enum):
    """The length of an interval of a series; the value is the longest range it may divide."""

    HOUR = timedelta(days=31)
    DAY = timedelta(days=1098)


def time_zone(name: str) -> ZoneInfo:
    """The zone with this IANA name, UTC if it is empty; INVALID_FIELD."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidField("timeZone", f"is {name!r}, which is not an IANA name such as Europe/Warsaw") from None


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The time that a report covers, [start, end), divided into the zone's hours or days."""

    start: datetime
    end: datetime
    granularity: Granularity
    zone: ZoneInfo

    @classmethod
    def requested(
        cls, start: datetime | None, end: datetime | None, granularity: Granularity, zone: ZoneInfo, now: datetime
    ) -> Self:
        """The requested range; `end` defaults to now and `start` to 30 days before the end. INVALID_FIELD."""
        for field, instant in (("startTime", start), ("endTime", end)):
            if instant and not _FIRST_YEAR <= instant.year < _LAST_YEAR:
                raise InvalidField(field, f"must be between the years {_FIRST_YEAR} and {_LAST_YEAR}")
        end = end or now
        start = start or end - DEFAULT_RANGE
        if start >= end:
            raise InvalidField("startTime", "must be before endTime, which is now unless given")
        if end - start > granularity.value:
            raise InvalidField(
                "startTime", f"is too far from endTime: by the {granularity.name} at most {granularity.value.days} days"
            )
        return cls(start, end, granularity, zone)

    def boundaries(self) -> Sequence[datetime]:
        """The starts of the intervals in UTC, then the end. All but the first start at a local hour or midnight."""
        next_boundary = _next_hour if self.granularity is Granularity.HOUR else _next_midnight
        boundaries = [self.start]
        while (boundary := next_boundary(boundaries[-1], self.zone)) < self.end:
            boundaries.append(boundary)
        return [*boundaries, self.end]


def _next_hour(at: datetime, zone: ZoneInfo) -> datetime:
    local = at.astimezone(zone)
    return at + _HOUR - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)


def _next_midnight(at: datetime, zone: ZoneInfo) -> datetime:
    tomorrow = at.astimezone(zone).date() + _DAY
    return datetime.combine(tomorrow, time(), zone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Ratios:
    """Metrics derived from counts and spend. Money is in micros, rounded half up; division by zero gives 0."""

    ctr: float
    """Clicks per impression."""
    cvr: float
    """Conversions per click."""
    cpm_micros: int
    """Spend per thousand impressions."""
    cpc_micros: int
    """Spend per click."""
    cpa_micros: int
    """Spend per conversion."""


def ratios(*, impressions: int, clicks: int, conversions: int, spend_micros: int) -> Ratios:
    """Derives the ratios from counts and spend."""
    return Ratios(
        ctr=clicks / impressions if impressions else 0.0,
        cvr=conversions / clicks if clicks else 0.0,
        cpm_micros=_unit_cost(spend_micros * 1000, impressions),
        cpc_micros=_unit_cost(spend_micros, clicks),
        cpa_micros=_unit_cost(spend_micros, conversions),
    )


def _unit_cost(micros: int, count: int) -> int:
    return (2 * micros + count) // (2 * count) if count else 0
