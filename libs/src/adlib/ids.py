"""Identifiers: UUIDv7 (RFC 9562), so that they sort by the time they were made."""

from collections.abc import Callable
from uuid import UUID

import uuid_utils.compat

from adlib.errors import InvalidField

NewId = Callable[[], UUID]


def new_id() -> UUID:
    """A fresh UUIDv7."""
    return uuid_utils.compat.uuid7()


def parse_id(text: str, field: str) -> UUID:
    """The UUID that `text` spells; INVALID_FIELD naming `field` where it is none."""
    try:
        return UUID(text)
    except ValueError:
        raise InvalidField(field, "must be a UUID") from None
