"""Parses the reports of pages (JSON) and partners (parameters)."""

import json
from typing import Any

from adlib.errors import InvalidArgument, InvalidField
from pixel_service.conversions.model import PageReport, Postback
from pixel_service.pixels.model import PixelNotFound, parse_pixel_id
from pixel_service.query_parameters import unique_values

_TEXT_FIELDS = ("pixelId", "clickId", "goal", "transactionId", "currencyCode")
_FIELDS = (*_TEXT_FIELDS, "valueMicros")
_PARAMETERS = ("click_id", "key", "goal", "payout", "txid", "status")
_MAX_TEXT_IN_ERROR = 64


def parse_page_report(query: str, body: bytes) -> PageReport:
    """The report in a JSON body.

    INVALID_FIELD if a field is missing, unknown, repeated, not text or in the query; PIXEL_NOT_FOUND if the pixel's id
    is malformed.
    """
    for name in unique_values(query, _FIELDS):
        raise InvalidField(name, "belongs in the body; leave it out of the query")
    fields = _parse_object(body)
    if not fields.get("pixelId"):
        raise InvalidField("pixelId", "is missing")
    pixel_id = parse_pixel_id(fields["pixelId"])
    if pixel_id is None:
        raise PixelNotFound(_shown(fields["pixelId"]))
    return PageReport(
        pixel_id=pixel_id,
        click_id=fields.get("clickId", ""),
        goal=fields.get("goal", ""),
        transaction_id=fields.get("transactionId", ""),
        value_micros=fields.get("valueMicros", 0),
        currency_code=fields.get("currencyCode", ""),
    )


def parse_postback(query: str) -> Postback:
    """The report in parameters. INVALID_FIELD if one is repeated or its encoding is broken."""
    parameters = unique_values(query, _PARAMETERS)
    return Postback(
        click_id=parameters.get("click_id", ""),
        key=parameters.get("key", ""),
        goal=parameters.get("goal", ""),
        payout=parameters.get("payout", ""),
        transaction_id=parameters.get("txid", ""),
        status=parameters.get("status", ""),
    )


def _parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object's known fields that are not null."""
    try:
        fields = json.loads(body, object_pairs_hook=_unique_members)
    # Deep nesting raises RecursionError, which is the client's fault too.
    except (ValueError, RecursionError):
        raise InvalidArgument("the body must be a JSON object") from None
    if not isinstance(fields, dict):
        raise InvalidArgument("the body must be a JSON object")
    fields = {name: value for name, value in fields.items() if value is not None}
    for name, value in fields.items():
        if name not in _FIELDS:
            raise InvalidField(_shown(name), f"is unknown; there are {', '.join(_TEXT_FIELDS)} and valueMicros")
        if name in _TEXT_FIELDS and not isinstance(value, str):
            raise InvalidField(name, "must be a text")
    return fields


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object with these members. INVALID_FIELD if a key is repeated: Python's json would use its last value."""
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise InvalidField(_shown(name), "is given twice; give it once")
        members[name] = value
    return members


def _shown(text: str) -> str:
    """Prepares a client's text for an error: truncates it, and replaces the lone surrogates that JSON allows."""
    return text[:_MAX_TEXT_IN_ERROR].encode(errors="replace").decode()
