"""Bindings that the contract may have but has not today: nested fields in a path, a body for one field, maps."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from adplatform.options.v1 import options_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from .harness import DESCRIPTORS, Gateway, gateway, wait_until_ready
from .test_duplicates import invalid_field

PACKAGE = "adplatform.campaign.v1"
RULES = {
    "Patch": ("patch", "/nested/{inner.some_id}", "*"),
    "Put": ("put", "/nested/{id}/inner/{inner.some_id}", "inner"),
    "Get": ("get", "/nested/{inner.some_id}", ""),
}


def _field(
    name: str, number: int, of: str = "", *, repeated: bool = False, choice: bool = False
) -> FieldDescriptorProto:
    kind = FieldDescriptorProto.TYPE_MESSAGE if of else FieldDescriptorProto.TYPE_STRING
    label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    head, *rest = name.split("_")
    field = FieldDescriptorProto(name=name, number=number, type=kind, label=label)
    field.json_name = head + "".join(part.capitalize() for part in rest)
    if of:
        field.type_name = f".{PACKAGE}.{of}"
    if choice:
        field.oneof_index = 0
    return field


def _descriptors() -> FileDescriptorSet:
    descriptors = FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    entry = DescriptorProto(name="ByNameEntry", field=[_field("key", 1), _field("value", 2, "Inner")])
    entry.options.map_entry = True
    whole = DescriptorProto(
        name="Nested",
        field=[
            _field("id", 1),
            _field("inner", 2, "Inner"),
            _field("by_name", 3, "Nested.ByNameEntry", repeated=True),
            _field("some_list", 4, "Inner", repeated=True),
            _field("left_side", 5, choice=True),
            _field("right_side", 6, choice=True),
            _field("many", 7, repeated=True),
        ],
        nested_type=[entry],
    )
    whole.oneof_decl.add(name="side")
    inner = DescriptorProto(name="Inner", field=[_field("some_id", 1), _field("other_id", 2)])
    file = FileDescriptorProto(name="nested.proto", package=PACKAGE, syntax="proto3", message_type=[whole, inner])
    file.dependency.extend(["google/api/annotations.proto", "adplatform/options/v1/options.proto"])
    service = file.service.add(name="NestedService")
    for name, (verb, path, body) in RULES.items():
        method = service.method.add(name=name, input_type=f".{PACKAGE}.Nested", output_type=f".{PACKAGE}.Nested")
        method.options.Extensions[options_pb2.auth].public = True
        rule = method.options.Extensions[annotations_pb2.http]
        setattr(rule, verb, path)
        rule.body = body
    descriptors.file.append(file)
    return descriptors


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("nested")
    path = folder / "contract.pb"
    path.write_bytes(_descriptors().SerializeToString())
    with gateway(folder, descriptor_path=str(path)) as running:
        wait_until_ready(running)
        running.reset()
        yield running


@pytest.fixture(scope="module")
def request_class() -> type[Message]:
    pool = DescriptorPool()
    for file in _descriptors().file:
        pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Nested"))


@pytest.mark.parametrize(
    ("verb", "path", "body", "field"),
    [
        ("PATCH", "/nested/x1", '{"inner": {"someId": "x1"}}', "inner.someId"),
        ("PATCH", "/nested/x1", '{"inner": {"otherId": "a", "some_id": "x2"}}', "inner.someId"),
        ("PATCH", "/nested/x1?inner.someId=x2", "{}", "inner.someId"),
        ("PATCH", "/nested/x1?inner.otherId=x2", "{}", "inner.otherId"),
        ("PATCH", "/nested/x1", '{"byName": {"a": {"otherId": "1", "other_id": "2"}}}', "byName.a.otherId"),
        ("PATCH", "/nested/x1", '{"byName": {"a": {}, "\\u0061": {}}}', "byName.a"),
        ("PATCH", "/nested/x1", '{"byName": {"a": {}}, "by_name": {"b": {}}}', "byName"),
        ("PATCH", "/nested/x1", '{"byName": {"a": null}}', "byName.a"),
        ("PATCH", "/nested/x1", '{"byName": {"a": {"nope": 1}}}', "byName.a.nope"),
        ("PATCH", "/nested/x1", '{"someList": [{}, {"someId": "1", "someId": "1"}]}', "someList[1].someId"),
        ("PATCH", "/nested/x1", '{"leftSide": "a", "rightSide": "b"}', "rightSide"),
        ("PUT", "/nested/x1/inner/x2", '{"someId": "x2"}', "someId"),
        ("PUT", "/nested/x1/inner/x2?inner.someId=x2", "{}", "inner"),
        ("PUT", "/nested/x1/inner/x2?inner.otherId=x2", "{}", "inner"),
        ("PUT", "/nested/x1/inner/x2?inner=x2", "{}", "inner"),
        ("PUT", "/nested/x1/inner/x2?id=x3", "{}", "id"),
        ("GET", "/nested/x1?inner.some_id=x2", None, "inner.someId"),
        ("GET", "/nested/x1?in%6eer%2Esome_id=x2", None, "inner.someId"),
        ("GET", "/nested/x1?inner.otherId=1&inner.other_id=1", None, "inner.otherId"),
        ("GET", "/nested/x1?leftSide=a&right_side=b", None, "rightSide"),
    ],
)
def test_duplicate_and_misplaced_fields_are_refused(
    nested: Gateway, verb: str, path: str, body: str | None, field: str
) -> None:
    response = httpx.request(verb, nested.url + path, content=body)
    assert invalid_field(response) == field
    assert nested.calls == []


@pytest.mark.parametrize(
    ("verb", "path", "body", "expected"),
    [
        (
            "PATCH",
            "/nested/x1",
            '{"id": "i", "inner": {"otherId": "a"}, "byName": {"a_b": {"someId": "1"}, "aB": {"someId": "1"}}}',
            {
                "id": "i",
                "inner": {"some_id": "x1", "other_id": "a"},
                "by_name": {"a_b": {"some_id": "1"}, "aB": {"some_id": "1"}},
            },
        ),
        (
            "PUT",
            "/nested/x1/inner/x2?many=1&many=2&leftSide=a",
            '{"other_id": "a"}',
            {"id": "x1", "inner": {"some_id": "x2", "other_id": "a"}, "many": ["1", "2"], "left_side": "a"},
        ),
        ("GET", "/nested/x1?inner.otherId=a&id=i", None, {"id": "i", "inner": {"some_id": "x1", "other_id": "a"}}),
    ],
)
def test_request_with_every_field_once_reaches_the_service(
    nested: Gateway, request_class: type[Message], verb: str, path: str, body: str | None, expected: dict[str, object]
) -> None:
    nested.reset()
    response = httpx.request(verb, nested.url + path, content=body)
    assert response.status_code == 200, response.text
    (call,) = nested.calls
    nested.reset()
    assert request_class.FromString(call.body) == request_class(**expected)
