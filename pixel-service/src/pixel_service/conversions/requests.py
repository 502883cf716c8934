"""Conversions as pages and partners report them, over HTTP."""

import json
from dataclasses import dataclass
from typing import Any

from adlib.errors import InvalidArgument, InvalidField, TokenInvalid, TokenMissing
from pixel_service.conversions.model import (
    NewConversion,
    Recorded,
    goal_of,
    transaction_id,
    units_to_micros,
    value_micros,
)
from pixel_service.conversions.service import ConversionService
from pixel_service.pixels.model import Pixel, PixelNotFound, pixel_id
from pixel_service.query import given_once
from pixel_service.signing.postback_keys import PostbackKeys

_TEXTS = ("pixelId", "clickId", "goal", "transactionId", "currencyCode")
_FIELDS = (*_TEXTS, "valueMicros")
_PARAMETERS = ("click_id", "key", "goal", "payout", "txid", "status")
_ACCEPTED = ("", "approved")


@dataclass(frozen=True, slots=True)
class Reporter:
    """Whose browser it is."""

    visitor_id: str
    user_agent: str
    referrer: str


class ConversionRequests:
    """Parses, calls."""

    def __init__(self, conversions: ConversionService, keys: PostbackKeys) -> None:
        self._conversions = conversions
        self._keys = keys

    def from_page(self, query: str, body: bytes, reporter: Reporter) -> Recorded:
        """A conversion in JSON, no field of which stands in the query; INVALID_FIELD, PIXEL_NOT_FOUND."""
        for name in given_once(query, _FIELDS):
            raise InvalidField(name, "belongs in the body; leave it out of the query")
        given = _object(body)
        if not given.get("pixelId"):
            raise InvalidField("pixelId", "is missing")
        known = pixel_id(given["pixelId"])
        if known is None:
            raise PixelNotFound(_shown(given["pixelId"]))
        pixel = self._conversions.pixel(known)
        _same_currency(pixel, given.get("currencyCode", ""))
        new = NewConversion(
            pixel=pixel,
            click=self._conversions.click_of(pixel, given.get("clickId", ""), "clickId"),
            goal=goal_of(pixel, given.get("goal", "")),
            transaction_id=transaction_id(given.get("transactionId", ""), "transactionId"),
            value_micros=value_micros(given.get("valueMicros", 0), "valueMicros"),
            visitor_id=reporter.visitor_id,
            user_agent=reporter.user_agent,
            referrer=reporter.referrer,
        )
        return self._conversions.record(new)

    def from_partner(self, query: str) -> Recorded:
        """A postback; the pixel and the key are those of the click. INVALID_FIELD, TOKEN_MISSING, TOKEN_INVALID."""
        given = given_once(query, _PARAMETERS)
        if not given.get("click_id"):
            raise InvalidField("click_id", "is missing")
        click = self._conversions.click(given["click_id"], "click_id")
        if not given.get("key"):
            raise TokenMissing("the parameter key is missing; it stands in the pixel's postback URL")
        if not self._keys.fits(given["key"], click.pixel_id):
            raise TokenInvalid("the parameter key is not the one in the postback URL of the click's pixel")
        if given.get("status", "").lower() not in _ACCEPTED:
            raise InvalidField("status", "must be approved, or left out; other conversions are not counted")
        pixel = self._conversions.pixel(click.pixel_id)
        new = NewConversion(
            pixel=pixel,
            click=click,
            goal=goal_of(pixel, given.get("goal", "")),
            transaction_id=transaction_id(given.get("txid", ""), "txid"),
            value_micros=units_to_micros(given.get("payout", ""), "payout"),
        )
        return self._conversions.record(new)


def _object(body: bytes) -> dict[str, Any]:
    """The JSON object, its fields known and the texts among them texts."""
    try:
        given = json.loads(body, object_pairs_hook=_members)
    # Deep nesting ends in a RecursionError, which is the sender's fault as well.
    except (ValueError, RecursionError):
        raise InvalidArgument("the body must be a JSON object") from None
    if not isinstance(given, dict):
        raise InvalidArgument("the body must be a JSON object")
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if name not in _FIELDS:
            raise InvalidField(_shown(name), f"is unknown; there are {', '.join(_TEXTS)} and valueMicros")
        if name in _TEXTS and not isinstance(value, str):
            raise InvalidField(name, "must be a text")
    return given


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a key that is given twice, json would keep the last value."""
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise InvalidField(_shown(name), "is given twice; give it once")
        members[name] = value
    return members


def _shown(text: str) -> str:
    """What was sent, fit to be sent back: short, and without the halves of characters that JSON lets through."""
    return text[:64].encode(errors="replace").decode()


def _same_currency(pixel: Pixel, currency_code: str) -> None:
    """Reports add up what a campaign's conversions are worth, so all of them are in its currency."""
    if currency_code not in ("", pixel.currency_code):
        raise InvalidField("currencyCode", f"must be the campaign's: {pixel.currency_code}")
