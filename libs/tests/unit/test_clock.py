"""Conversions between times and the contract's timestamps."""

from datetime import UTC, datetime, timedelta, timezone

from adlib.clock import timestamp


def test_timestamp_conversion_keeps_microseconds_and_time_zone() -> None:
    at = datetime(2025, 3, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(at).ToDatetime(tzinfo=UTC) == at
