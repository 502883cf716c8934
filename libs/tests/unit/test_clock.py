"""The time as the contract has it."""

from datetime import UTC, datetime, timedelta, timezone

from adlib.clock import timestamp


def test_an_instant_keeps_its_microseconds_and_its_place_in_time() -> None:
    at = datetime(2025, 3, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(at).ToDatetime(tzinfo=UTC) == at
