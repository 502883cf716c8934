"""Conversions."""

import re
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from adlib.errors import InvalidField
from adlib.money import from_decimal
from pixel_service.pixels.model import Pixel
from pixel_service.signing.click_ids import Click

MAX_TRANSACTION_ID = 255
MAX_VALUE_MICROS = 10**15

_AMOUNT = re.compile(r"[0-9]{1,10}(\.[0-9]{1,6})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class NewConversion:
    """A conversion as it was reported, checked against its pixel."""

    pixel: Pixel
    click: Click | None
    goal: str
    transaction_id: str
    """Empty where none was given."""
    value_micros: int
    visitor_id: str = ""
    user_agent: str = ""
    referrer: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The conversion's tracking event; a duplicate's is the first one's."""

    event_id: UUID
    duplicate: bool


def goal_of(pixel: Pixel, goal: str) -> str:
    """The goal that is meant: the pixel's only one where none is named. INVALID_FIELD."""
    if goal in pixel.goals:
        return goal
    if not goal and len(pixel.goals) == 1:
        return pixel.goals[0]
    raise InvalidField("goal", f"must be one of the pixel's goals: {', '.join(pixel.goals)}")


def transaction_id(text: str, field: str) -> str:
    """The partner's id of what was bought; INVALID_FIELD naming `field`."""
    if len(text) > MAX_TRANSACTION_ID or not text.isprintable():
        raise InvalidField(field, f"must be at most {MAX_TRANSACTION_ID} printable characters")
    return text


def value_micros(value: object, field: str) -> int:
    """Micros given as a whole number or its digits; INVALID_FIELD naming `field`."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 16:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_VALUE_MICROS:
        raise InvalidField(field, f"must be a whole number from 0 to {MAX_VALUE_MICROS}, in millionths of a unit")
    return value


def units_to_micros(text: str, field: str) -> int:
    """Exact micros of an amount in units, such as 12.50; INVALID_FIELD naming `field`."""
    if not text:
        return 0
    if not _AMOUNT.fullmatch(text) or (micros := from_decimal(Decimal(text))) > MAX_VALUE_MICROS:
        raise InvalidField(field, "must be an amount such as 12.50, at most 1000000000, with at most 6 decimals")
    return micros
