"""The time, passed in so that tests can set it."""

from datetime import UTC, datetime
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from adlib.errors import InvalidField


class Clock(Protocol):
    """Tells the time in UTC."""

    def now(self) -> datetime:
        """The current instant, with time zone."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current instant, with time zone."""
        return datetime.now(UTC)


class FixedClock:
    """A clock that stands still until it is set."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        """The instant it was set to."""
        return self.at


def timestamp(at: datetime) -> Timestamp:
    """An instant as the contract has it."""
    result = Timestamp()
    result.FromDatetime(at)
    return result


def instant(message: Timestamp, field: str = "the time") -> datetime:
    """An instant of the contract, with time zone; INVALID_FIELD naming `field` where it is none."""
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidField(field, "must be a time from year 1 to 9999") from None
