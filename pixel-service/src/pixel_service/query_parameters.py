"""Parameters of tracking URLs, in a query or a form."""

import re
from collections.abc import Collection
from urllib.parse import parse_qsl, unquote_to_bytes
from uuid import UUID

from adlib.errors import InvalidArgument, InvalidField

MAX_PARAMETERS = 64

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def all_values(query: str, name: str) -> list[str]:
    """Every value of a parameter, also if its name is percent-encoded; none if there are over 64 parameters."""
    if name not in query and "%" not in query:
        return []
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        return []
    return [value for key, value in pairs if key == name]


def zone_id(query: str) -> UUID | None:
    """The parameter `zone`. None if it is not a UUID or is repeated: the publisher of the traffic is then unknown."""
    values = all_values(query, "zone")
    try:
        return UUID(values[0]) if len(values) == 1 else None
    except ValueError:
        return None


def unique_values(query: str, names: Collection[str]) -> dict[str, str]:
    """The values of these parameters. INVALID_FIELD if one is repeated or its encoding is broken.

    Other parameters are ignored: partners add their own.
    """
    parameters = query.split("&")
    if len(parameters) > MAX_PARAMETERS:
        raise InvalidArgument(f"there are more than {MAX_PARAMETERS} parameters")
    values: dict[str, str] = {}
    for parameter in parameters:
        encoded_name, _, encoded_value = parameter.partition("=")
        name = _decoded(encoded_name)
        if name is None or name not in names:
            continue
        if name in values:
            raise InvalidField(name, "is given twice; give it once")
        value = _decoded(encoded_value)
        if value is None:
            raise InvalidField(name, "must be UTF-8 text with whole percent-escapes; write the sign % as %25")
        values[name] = value
    return values


def _decoded(text: str) -> str | None:
    """The decoded text; None if its encoding is broken, since lenient decoding could make two ids equal."""
    if _BROKEN_ESCAPE.search(text):
        return None
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeDecodeError:
        return None
