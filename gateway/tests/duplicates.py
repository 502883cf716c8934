"""Generates each binding's valid request, and its requests with duplicate or misplaced fields."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from adgateway.contract import Binding, Method
from adgateway.request_validation import SINGLE_HEADERS

from .harness import message_class

_WELL_KNOWN = {
    "google.protobuf.Timestamp": "2026-01-31T09:30:00Z",
    "google.protobuf.Duration": "5s",
    "google.protobuf.FieldMask": "name",
    "google.protobuf.Struct": {"a": {"b": [1, None]}},
    "google.protobuf.Value": {"a": 1},
}
_SCALARS = {
    FieldDescriptor.CPPTYPE_INT32: 7,
    FieldDescriptor.CPPTYPE_UINT32: 7,
    FieldDescriptor.CPPTYPE_INT64: "7",
    FieldDescriptor.CPPTYPE_UINT64: "7",
    FieldDescriptor.CPPTYPE_FLOAT: 0.5,
    FieldDescriptor.CPPTYPE_DOUBLE: 0.5,
    FieldDescriptor.CPPTYPE_BOOL: True,
}


class AmbiguousRequest(NamedTuple):
    """A request in which `field` is repeated or misplaced."""

    description: str
    field: str
    query: str = ""
    body: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def is_contract_message(field: FieldDescriptor) -> bool:
    return (
        field.message_type is not None and not is_map(field) and field.message_type.full_name.startswith("adplatform.")
    )


def names_of(field: FieldDescriptor) -> list[str]:
    return list(dict.fromkeys([field.json_name, field.name]))


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def value_of(field: FieldDescriptor) -> Any:
    """A JSON value of the field other than its default."""
    if is_map(field):
        keys, values = field.message_type.fields
        return {str(_one(keys)): _one(values)}
    one = _one(field)
    return [one] if field.is_repeated else one


def _one(field: FieldDescriptor) -> Any:
    if field.enum_type:
        return field.enum_type.values[1].name
    if field.message_type:
        kind = field.message_type.full_name
        return _WELL_KNOWN[kind] if kind in _WELL_KNOWN else object_of(field.message_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return "QQ=="
    return _SCALARS.get(field.cpp_type, f"text of {field.name}")


def settable_fields(message: Descriptor, binding: Binding | None = None) -> list[FieldDescriptor]:
    """The fields that are not in the path, and only the first member of each oneof."""
    in_path = binding.path_fields if binding else ()
    return [
        field
        for field in message.fields
        if field.name not in in_path and not (field.containing_oneof and field is not field.containing_oneof.fields[0])
    ]


def object_of(message: Descriptor, binding: Binding | None = None, *, spelling: int = 0) -> dict[str, Any]:
    return {names_of(field)[-spelling]: value_of(field) for field in settable_fields(message, binding)}


def query_of(message: Descriptor, binding: Binding, *, spelling: int = 0) -> dict[str, str]:
    return {
        names_of(field)[-spelling]: _in_query(field)
        for field in settable_fields(message, binding)
        if not is_contract_message(field) and not is_map(field)
    }


def request_of(method: Method, binding: Binding) -> Message:
    """The request with every field set; fields in the path have the values of `example_path`."""
    cls = message_class(method.grpc_path)
    request = cls()
    json_format.ParseDict(object_of(cls.DESCRIPTOR, binding), request)
    for name in binding.path_fields:
        setattr(request, name, "x1")
    return request


def ambiguous_requests(method: Method, binding: Binding) -> Iterator[AmbiguousRequest]:
    """Every request of the binding in which a field is repeated or misplaced."""
    message = message_class(method.grpc_path).DESCRIPTOR
    yield from _also_in_path(message, binding)
    if binding.body == "*":
        yield from _query_beside_body(message, binding)
        for field, body in _repeated_in_json(message, binding.path_fields):
            yield AmbiguousRequest("repeated in the body", field, body=body)
    elif binding.body:
        for name in (binding.body, f"{binding.body}.data", f"{binding.body}.contentType"):
            yield AmbiguousRequest("query beside the raw body", name.split(".")[0], query=f"{name}=QQ==", body="{}")
    else:
        yield from _repeated_in_query(message, binding)
        yield AmbiguousRequest("body of a call without one", "body", body='{"x": 1}')
    for name in SINGLE_HEADERS:
        yield AmbiguousRequest("repeated header", name, headers=((name, "a"), (name, "b")))
        yield AmbiguousRequest("header with a list", name, headers=((name, "a, b"),))


def _also_in_path(message: Descriptor, binding: Binding) -> Iterator[AmbiguousRequest]:
    for name in binding.path_fields:
        field = message.fields_by_name[name]
        for spelling in names_of(field):
            escaped = f"%{ord(spelling[0]):02x}{spelling[1:]}"
            for shown in (spelling, escaped):
                for value in ("x1", "x3"):
                    yield AmbiguousRequest("query beside the path", field.json_name, query=f"{shown}={value}")
            for value in ("x1", "x3", None):
                if binding.body == "*":
                    yield AmbiguousRequest("body beside the path", field.json_name, body=json.dumps({spelling: value}))
                elif not binding.body:
                    yield AmbiguousRequest("body beside the path", "body", body=json.dumps({spelling: value}))


def _query_beside_body(message: Descriptor, binding: Binding) -> Iterator[AmbiguousRequest]:
    for field in settable_fields(message, binding):
        for spelling in names_of(field):
            value = value_of(field)
            for body in ("{}", json.dumps({spelling: value}), None):
                if is_contract_message(field):
                    for inner in field.message_type.fields:
                        path = f"{field.json_name}.{inner.json_name}"
                        yield AmbiguousRequest(
                            "query beside the body", path, query=f"{path}={_in_query(inner)}", body=body
                        )
                else:
                    query = f"{spelling}={_in_query(field)}"
                    yield AmbiguousRequest("query beside the body", field.json_name, query=query, body=body)
    yield AmbiguousRequest("query of a call without one", "nope", query="nope=1", body="{}")


def _repeated_in_query(message: Descriptor, binding: Binding) -> Iterator[AmbiguousRequest]:
    for field in settable_fields(message, binding):
        if field.is_repeated or is_contract_message(field):  # a map is repeated
            continue
        value = _in_query(field)
        for first in names_of(field):
            yield AmbiguousRequest("query without a value", field.json_name, query=first)
            for second in names_of(field):
                yield AmbiguousRequest(
                    "repeated in the query", field.json_name, query=f"{first}={value}&{second}={value}"
                )


def _in_query(field: FieldDescriptor) -> str:
    value = _one(field)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _repeated_in_json(message: Descriptor, in_path: tuple[str, ...] = (), at: str = "") -> Iterator[tuple[str, str]]:
    """JSON objects of the message with one field repeated at some depth, and that field's path."""
    for field in message.fields:
        if field.name in in_path:
            continue
        value, first = json.dumps(value_of(field)), field.json_name
        yield at + first, f'{{"{first}":{value},"{first}":{value}}}'
        yield at + first, f'{{"{first}":null,"\\u{ord(first[0]):04x}{first[1:]}":{value}}}'
        if field.name != first:
            yield at + first, f'{{"{first}":{value},"{field.name}":{value}}}'
            yield at + first, f'{{"{field.name}":{value},"{first}":{value}}}'
        for path, inner in _repeated_inside(field, at + first):
            yield path, f'{{"{first}":{inner}}}'
        if field.containing_oneof and len(others := field.containing_oneof.fields) > 1:
            for other in others:
                if other is not field:
                    second = json.dumps(value_of(other))
                    yield at + other.json_name, f'{{"{first}":{value},"{other.name}":{second}}}'


def _repeated_inside(field: FieldDescriptor, path: str) -> Iterator[tuple[str, str]]:
    if is_map(field):
        yield f"{path}.a", '{"a":null}'
    elif field.is_repeated:
        yield f"{path}[0]", "[null]"
        yield f"{path}[1]", f"[{json.dumps(_one(field))},[]]"
    if is_contract_message(field):
        place = f"{path}[0]." if field.is_repeated else f"{path}."
        for inner, body in _repeated_in_json(field.message_type, at=place):
            yield inner, f"[{body}]" if field.is_repeated else body
    elif field.message_type and field.message_type.full_name == "google.protobuf.Struct":
        yield f"{path}.a", '{"a":1,"a":2}'
        yield f"{path}.b[1].c", '{"b":[1,{"c":1,"d":{},"c":1}]}'


def headers_of(request: AmbiguousRequest, others: Mapping[str, str]) -> list[tuple[str, str]]:
    """The request's headers, and those of `others` that have another name."""
    own = {name for name, _ in request.headers}
    return [*((name, value) for name, value in others.items() if name not in own), *request.headers]
