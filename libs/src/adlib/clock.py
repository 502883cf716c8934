"""The clock, injected so that tests control the time, and conversions of timestamps."""

from datetime import UTC, datetime
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp
from typing_extensions import override

from adlib.errors import InvalidField


class Clock(Protocol):
    """A source of the current time."""

    def now(self) -> datetime:
        """The current time in UTC, with time zone."""
        ...


class SystemClock(Clock):
    """The clock of the operating system."""

    @override
    def now(self) -> datetime:
        return datetime.now(UTC)


class FixedClock(Clock):
    """A clock that shows the time `at`, until the test changes it."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    @override
    def now(self) -> datetime:
        return self.at


def timestamp(at: datetime) -> Timestamp:
    """Converts a time to the contract's message."""
    result = Timestamp()
    result.FromDatetime(at)
    return result


def instant(message: Timestamp, field: str = "the time") -> datetime:
    """Converts the contract's message to a time in UTC; INVALID_FIELD, naming `field`, if it is out of range."""
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidField(field, "must be a time from year 1 to 9999") from None
