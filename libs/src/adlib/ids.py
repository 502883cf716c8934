"""Identifiers: UUIDv7 (RFC 9562), which sort by their creation time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import uuid_utils.compat

from adlib.errors import InvalidField

NewId = Callable[[], UUID]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_TIME_SHIFT = 80  # the first 48 bits are the time in milliseconds


def new_id() -> UUID:
    """Generates a UUIDv7."""
    return uuid_utils.compat.uuid7()


def creation_time(id: UUID) -> datetime:
    """The time in a UUIDv7, with a precision of 1 ms."""
    return _EPOCH + (id.int >> _TIME_SHIFT) * _MS


def min_id_at(at: datetime) -> UUID:
    """The smallest UUIDv7 of this time: ids generated earlier are smaller, ids generated then or later are not."""
    since_epoch_ms = -((_EPOCH - at) // _MS)  # rounded up
    return UUID(int=max(since_epoch_ms, 0) << _TIME_SHIFT)


def parse_id(text: str, field: str) -> UUID:
    """Parses a UUID; INVALID_FIELD, naming `field`, if the text is not one."""
    try:
        return UUID(text)
    except ValueError:
        raise InvalidField(field, "must be a UUID") from None
