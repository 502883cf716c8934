"""Identifiers: UUIDv7 (RFC 9562), so that they sort by the time they were made."""

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
    """A fresh UUIDv7."""
    return uuid_utils.compat.uuid7()


def creation_time(id: UUID) -> datetime:
    """When a UUIDv7 was made, to the millisecond."""
    return _EPOCH + (id.int >> _TIME_SHIFT) * _MS


def min_id_at(at: datetime) -> UUID:
    """What every UUIDv7 made at that time or later is not below, and every earlier one is."""
    since_epoch_ms = -((_EPOCH - at) // _MS)  # rounded up
    return UUID(int=max(since_epoch_ms, 0) << _TIME_SHIFT)


def parse_id(text: str, field: str) -> UUID:
    """The UUID that `text` spells; INVALID_FIELD naming `field` where it is none."""
    try:
        return UUID(text)
    except ValueError:
        raise InvalidField(field, "must be a UUID") from None
