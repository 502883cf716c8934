"""Free-form JSON, from a Struct and back."""

import json

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from adlib.errors import InvalidField
from auth_service.json_text import MAX_BYTES, struct_of, text_of


def struct(text: str) -> Struct:
    return json_format.Parse(text, Struct())


@pytest.mark.parametrize(
    "text",
    [
        '{"a":5,"b":-7,"c":0.5,"d":9007199254740992}',
        '{"a":[[1,2],[{"b":[]}]],"c":{},"d":null,"e":true}',
        '{"":"empty","x.y":"dot","ä":"\\u0000"}',
    ],
)
def test_json_round_trips_unchanged(text: str) -> None:
    kept = text_of(struct(text), "data")
    assert json.loads(kept) == json.loads(text)
    assert ".0" not in kept
    assert struct_of(kept) == struct(text)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_number_is_refused(number: float) -> None:
    data = Struct()
    data.get_or_create_struct("a")["b"] = number
    with pytest.raises(InvalidField) as refused:
        text_of(data, "data")
    assert refused.value.violations[0].field == "data"


def test_json_over_64_kib_is_refused() -> None:
    # {"a":"…"} is eight bytes around the text, of which each letter takes two.
    assert len(text_of(struct(json.dumps({"a": "ä" * (MAX_BYTES // 2 - 4)})), "data").encode()) == MAX_BYTES
    with pytest.raises(InvalidField, match="65536 bytes"):
        text_of(struct(json.dumps({"a": "ä" * (MAX_BYTES // 2 - 3)})), "data")
