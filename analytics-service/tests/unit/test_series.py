"""A series is cut at the zone's own hours and midnights, without gaps, whatever the clocks do."""

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adlib.errors import InvalidField
from analytics_service.ingest.spend import spent_at_micros
from analytics_service.reports.model import Granularity, Span, ratios, time_zone

ZONES = ["UTC", "Europe/Warsaw", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo"]
NOW = datetime(2026, 11, 22, 12, 34, 56, tzinfo=UTC)


def span(start: str, end: str, granularity: Granularity, zone: str) -> Span:
    return Span(datetime.fromisoformat(start), datetime.fromisoformat(end), granularity, time_zone(zone))


def hours(cut: Span) -> list[float]:
    edges = cut.edges()
    return [(after - before) / timedelta(hours=1) for before, after in pairwise(edges)]


def test_days_are_23_and_25_hours_long_when_clocks_change() -> None:
    spring = span("2026-03-28T00:00+01:00", "2026-03-31T00:00+02:00", Granularity.DAY, "Europe/Warsaw")
    autumn = span("2026-10-24T00:00+02:00", "2026-10-27T00:00+01:00", Granularity.DAY, "Europe/Warsaw")
    assert hours(spring) == [24, 23, 24]
    assert hours(autumn) == [24, 25, 24]


def test_the_first_and_last_point_may_be_shorter() -> None:
    cut = span("2026-01-01T22:30+00:00", "2026-01-02T01:15+00:00", Granularity.HOUR, "UTC")
    assert hours(cut) == [0.5, 1, 1, 0.25]


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    st.timedeltas(timedelta(minutes=1), timedelta(days=20)),
    st.sampled_from(ZONES),
    st.sampled_from(list(Granularity)),
)
def test_points_follow_one_another_and_begin_at_full_local_time(
    start: datetime, length: timedelta, zone: str, granularity: Granularity
) -> None:
    cut = Span(start, start + length, granularity, time_zone(zone))
    edges = cut.edges()
    assert edges[0] == start
    assert edges[-1] == start + length
    assert all(before < after for before, after in pairwise(edges))
    for edge in edges[1:-1]:
        local = edge.astimezone(time_zone(zone))
        # Where clocks skip a full hour or midnight, the point begins right after.
        clocks_changed = (edge - timedelta(hours=1)).astimezone(time_zone(zone)).utcoffset() != local.utcoffset()
        full = local.time() if granularity is Granularity.DAY else local.time().replace(hour=0)
        assert full == time() or clocks_changed


def test_without_times_it_is_the_last_30_days() -> None:
    cut = Span.of(None, None, Granularity.DAY, time_zone(""), NOW)
    assert (cut.start, cut.end) == (NOW - timedelta(days=30), NOW)


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
def test_a_span_that_cannot_be_cut_is_refused(start: datetime, end: datetime | None, granularity: Granularity) -> None:
    with pytest.raises(InvalidField, match="startTime"):
        Span.of(start, end, granularity, time_zone(""), NOW)


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd", "Europe", "\0"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(InvalidField, match="timeZone"):
        time_zone(name)


def test_ratios_over_nothing_are_zero_and_costs_are_rounded_half_up() -> None:
    nothing = ratios(impressions=0, clicks=0, conversions=0, spend_micros=5)
    assert (nothing.ctr, nothing.cvr, nothing.cpm_micros, nothing.cpc_micros, nothing.cpa_micros) == (0, 0, 0, 0, 0)
    some = ratios(impressions=1000, clicks=4, conversions=2, spend_micros=5_000_001)
    assert (some.ctr, some.cvr) == (0.004, 0.5)
    assert (some.cpm_micros, some.cpc_micros, some.cpa_micros) == (5_000_001, 1_250_000, 2_500_001)


def test_spend_counts_on_the_networks_day() -> None:
    day = datetime(2026, 11, 21, tzinfo=UTC)
    begins = int(day.timestamp()) * 1_000_000
    ends = begins + 86_400_000_000
    assert spent_at_micros(begins + 5, day.date()) == begins + 5
    assert spent_at_micros(ends + 5, day.date()) == ends - 1
    assert spent_at_micros(begins - 5, day.date()) == begins
