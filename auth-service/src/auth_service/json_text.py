"""Free-form JSON as text: kept so, every document store gives back what it was given, however it is nested."""

import json
from typing import Any

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from adlib.errors import InvalidField

MAX_BYTES = 64 * 1024
# Beyond it a double no longer tells whole numbers apart.
_MAX_WHOLE = 2**53


def text_of(struct: Struct, field: str) -> str:
    """The JSON of a Struct; INVALID_FIELD naming `field` where it is larger than 64 KiB or holds what JSON cannot."""
    try:
        value = json_format.MessageToDict(struct)
    except (ValueError, json_format.Error):
        raise InvalidField(field, "must hold no numbers but finite ones") from None
    text = json.dumps(_whole(value), ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > MAX_BYTES:
        raise InvalidField(field, f"must be at most {MAX_BYTES} bytes of JSON")
    return text


def struct_of(text: str) -> Struct:
    """The Struct that the JSON spells."""
    return json_format.Parse(text, Struct())


def _whole(value: Any) -> Any:
    """The value with numbers as they were written: a Struct has doubles only, where 5 has become 5.0."""
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_WHOLE:
        return int(value)
    return value
