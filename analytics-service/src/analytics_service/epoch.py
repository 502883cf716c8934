"""Microseconds since the epoch, the warehouse's unit of time."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def epoch_micros(at: datetime) -> int:
    """Microseconds from 1970-01-01 UTC to `at`."""
    return (at - _EPOCH) // _MICROSECOND
