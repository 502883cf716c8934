"""Conversions and the rules of their fields."""

import re
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from adlib.errors import InvalidField
from adlib.money import from_decimal
from pixel_service.click_ids import Click
from pixel_service.pixels.model import Pixel

MAX_TRANSACTION_ID = 255
MAX_VALUE_MICROS = 10**15

_AMOUNT = re.compile(r"[0-9]{1,10}(\.[0-9]{1,6})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class PageReport:
    """A conversion that an advertiser's page reports, with its other fields as sent."""

    pixel_id: UUID
    click_id: str
    goal: str
    transaction_id: str
    value_micros: object
    currency_code: str


@dataclass(frozen=True, slots=True)
class Postback:
    """A conversion that a partner's server reports, with its parameters as sent."""

    click_id: str
    key: str
    goal: str
    payout: str
    transaction_id: str
    status: str


@dataclass(frozen=True, slots=True)
class Visitor:
    """The browser that a page's report comes from."""

    id: str = ""
    user_agent: str = ""
    referrer: str = ""


@dataclass(frozen=True, slots=True)
class NewConversion:
    """A valid conversion of a pixel."""

    pixel: Pixel
    click: Click | None
    goal: str
    transaction_id: str
    """Empty if the report has none."""
    value_micros: int
    visitor: Visitor = Visitor()


@dataclass(frozen=True, slots=True)
class Recorded:
    """The conversion's tracking event; for a duplicate, the event of the first report."""

    event_id: UUID
    is_duplicate: bool


def resolve_goal(pixel: Pixel, goal: str) -> str:
    """The reported goal, by default the pixel's only one. INVALID_FIELD."""
    if goal in pixel.goals:
        return goal
    if not goal and len(pixel.goals) == 1:
        return pixel.goals[0]
    raise InvalidField("goal", f"must be one of the pixel's goals: {', '.join(pixel.goals)}")


def require_currency(pixel: Pixel, currency_code: str) -> None:
    """Raises INVALID_FIELD unless the code is empty or the campaign's: reports add up values in that currency only."""
    if currency_code not in ("", pixel.currency_code):
        raise InvalidField("currencyCode", f"must be the campaign's: {pixel.currency_code}")


def valid_transaction_id(text: str, field: str) -> str:
    """The reporter's id of the purchase; INVALID_FIELD naming `field`."""
    if len(text) > MAX_TRANSACTION_ID or not text.isprintable():
        raise InvalidField(field, f"must be at most {MAX_TRANSACTION_ID} printable characters")
    return text


def valid_value_micros(value: object, field: str) -> int:
    """Micros as a whole number or its digits; INVALID_FIELD naming `field`."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 16:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_VALUE_MICROS:
        raise InvalidField(field, f"must be a whole number from 0 to {MAX_VALUE_MICROS}, in millionths of a unit")
    return value


def units_to_micros(text: str, field: str) -> int:
    """The exact micros of an amount in units, such as 12.50; INVALID_FIELD naming `field`."""
    if not text:
        return 0
    if not _AMOUNT.fullmatch(text) or (micros := from_decimal(Decimal(text))) > MAX_VALUE_MICROS:
        raise InvalidField(field, "must be an amount such as 12.50, at most 1000000000, with at most 6 decimals")
    return micros
