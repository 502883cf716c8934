"""Free-form JSON as text, which every document store returns unchanged, however it is nested."""

import json
from typing import Any

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from adlib.errors import InvalidField

MAX_BYTES = 64 * 1024
# Above it a double cannot represent every integer.
_MAX_EXACT_INTEGER = 2**53


def text_of(struct: Struct, field: str) -> str:
    """The JSON of a Struct; INVALID_FIELD for `field` if it exceeds 64 KiB or has a number that is not finite."""
    try:
        value = json_format.MessageToDict(struct)
    except (ValueError, json_format.Error):
        raise InvalidField(field, "must contain finite numbers only") from None
    text = json.dumps(_with_integers(value), ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > MAX_BYTES:
        raise InvalidField(field, f"must be at most {MAX_BYTES} bytes of JSON")
    return text


def struct_of(text: str) -> Struct:
    """The Struct of a JSON text."""
    return json_format.Parse(text, Struct())


def _with_integers(value: Any) -> Any:
    """The value with integers restored: a Struct has doubles only, which turn 5 into 5.0."""
    if isinstance(value, dict):
        return {key: _with_integers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_integers(one) for one in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_EXACT_INTEGER:
        return int(value)
    return value
