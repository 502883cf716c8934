"""Time ranges, series intervals and ratios of reports, and the time of spend."""

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

import pytest
from adplatform.events.v1.events_pb2 import Event, SpendPosted
from hypothesis import given
from hypothesis import strategies as st

from adlib.errors import InvalidField
from analytics_service.reports.model import Granularity, TimeRange, ratios, time_zone
from analytics_service.tables import spend_time_micros

ZONES = ["UTC", "Europe/Warsaw", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo"]
NOW = datetime(2026, 11, 22, 12, 34, 56, tzinfo=UTC)


def time_range(start: str, end: str, granularity: Granularity, zone: str) -> TimeRange:
    return TimeRange(datetime.fromisoformat(start), datetime.fromisoformat(end), granularity, time_zone(zone))


def interval_hours(time_range: TimeRange) -> list[float]:
    return [(end - start) / timedelta(hours=1) for start, end in pairwise(time_range.boundaries())]


def test_day_intervals_have_23_and_25_hours_at_daylight_saving_changes() -> None:
    spring = time_range("2026-03-28T00:00+01:00", "2026-03-31T00:00+02:00", Granularity.DAY, "Europe/Warsaw")
    autumn = time_range("2026-10-24T00:00+02:00", "2026-10-27T00:00+01:00", Granularity.DAY, "Europe/Warsaw")
    assert interval_hours(spring) == [24, 23, 24]
    assert interval_hours(autumn) == [24, 25, 24]


def test_first_and_last_interval_may_be_partial() -> None:
    partial = time_range("2026-01-01T22:30+00:00", "2026-01-02T01:15+00:00", Granularity.HOUR, "UTC")
    assert interval_hours(partial) == [0.5, 1, 1, 0.25]


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    st.timedeltas(timedelta(minutes=1), timedelta(days=20)),
    st.sampled_from(ZONES),
    st.sampled_from(list(Granularity)),
)
def test_intervals_are_contiguous_and_start_at_full_local_hours_or_midnight(
    start: datetime, length: timedelta, zone: str, granularity: Granularity
) -> None:
    boundaries = TimeRange(start, start + length, granularity, time_zone(zone)).boundaries()
    assert boundaries[0] == start
    assert boundaries[-1] == start + length
    assert all(before < after for before, after in pairwise(boundaries))
    for boundary in boundaries[1:-1]:
        local = boundary.astimezone(time_zone(zone))
        # Where a clock change skips the full hour or midnight, the interval starts right after it.
        clocks_changed = (boundary - timedelta(hours=1)).astimezone(time_zone(zone)).utcoffset() != local.utcoffset()
        full = local.time() if granularity is Granularity.DAY else local.time().replace(hour=0)
        assert full == time() or clocks_changed


def test_default_range_is_the_last_30_days() -> None:
    default = TimeRange.requested(None, None, Granularity.DAY, time_zone(""), NOW)
    assert (default.start, default.end) == (NOW - timedelta(days=30), NOW)


@pytest.mark.parametrize(
    ("start", "end", "granularity"),
    [
        (NOW, NOW, Granularity.DAY),
        (NOW + timedelta(days=1), None, Granularity.DAY),
        (NOW - timedelta(days=32), NOW, Granularity.HOUR),
        (NOW - timedelta(days=1099), NOW, Granularity.DAY),
        (datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 5, tzinfo=UTC), Granularity.DAY),
        (datetime(9999, 12, 30, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC), Granularity.HOUR),
    ],
)
def test_invalid_time_range_is_refused(start: datetime, end: datetime | None, granularity: Granularity) -> None:
    with pytest.raises(InvalidField, match="startTime"):
        TimeRange.requested(start, end, granularity, time_zone(""), NOW)


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd", "Europe", "\0"])
def test_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(InvalidField, match="timeZone"):
        time_zone(name)


def test_division_by_zero_gives_zero_and_unit_costs_are_rounded_half_up() -> None:
    empty = ratios(impressions=0, clicks=0, conversions=0, spend_micros=5)
    assert (empty.ctr, empty.cvr, empty.cpm_micros, empty.cpc_micros, empty.cpa_micros) == (0, 0, 0, 0, 0)
    some = ratios(impressions=1000, clicks=4, conversions=2, spend_micros=5_000_001)
    assert (some.ctr, some.cvr) == (0.004, 0.5)
    assert (some.cpm_micros, some.cpc_micros, some.cpa_micros) == (5_000_001, 1_250_000, 2_500_001)


def test_spend_is_counted_on_the_day_the_network_reports() -> None:
    day_start = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp()) * 1_000_000
    day_end = day_start + 86_400_000_000

    def counted_at(posted_micros: int) -> int:
        event = Event(spend_posted=SpendPosted(day="2026-11-21"))
        event.time.FromMicroseconds(posted_micros)
        return spend_time_micros(event)

    assert counted_at(day_start + 5) == day_start + 5
    assert counted_at(day_end + 5) == day_end - 1
    assert counted_at(day_start - 5) == day_start
