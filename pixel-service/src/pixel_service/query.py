"""Parameters of tracking URLs, in their query or in a form."""

import re
from collections.abc import Collection
from urllib.parse import parse_qsl, unquote_to_bytes
from uuid import UUID

from adlib.errors import InvalidArgument, InvalidField

MAX_PARAMETERS = 64

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def values_of(query: str, name: str) -> list[str]:
    """All values of a parameter, however it is written; none where there are absurdly many parameters."""
    if name not in query and "%" not in query:
        return []
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        return []
    return [value for key, value in pairs if key == name]


def zone_id(query: str) -> UUID | None:
    """The zone in `zone=`. What is no UUID is dropped, and so are two: it cannot be known whose traffic it was."""
    values = values_of(query, "zone")
    try:
        return UUID(values[0]) if len(values) == 1 else None
    except ValueError:
        return None


def given_once(query: str, names: Collection[str]) -> dict[str, str]:
    """The parameters of these names. INVALID_FIELD for one that is given twice or cannot be decoded exactly.

    Others are not looked at: partners add parameters of their own.
    """
    parameters = query.split("&")
    if len(parameters) > MAX_PARAMETERS:
        raise InvalidArgument(f"there are more than {MAX_PARAMETERS} parameters")
    given: dict[str, str] = {}
    for parameter in parameters:
        written, _, text = parameter.partition("=")
        name = _decoded(written)
        if name is None or name not in names:
            continue
        if name in given:
            raise InvalidField(name, "is given twice; give it once")
        value = _decoded(text)
        if value is None:
            raise InvalidField(name, "must be UTF-8 text with whole percent-escapes; write the sign % as %25")
        given[name] = value
    return given


def _decoded(text: str) -> str | None:
    """None where it does not stand for one text: a lenient reading would make two transaction ids one."""
    if _BROKEN_ESCAPE.search(text):
        return None
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeDecodeError:
        return None
