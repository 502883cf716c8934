"""Requests of every binding of the contract, and all the ways in which one could give a field twice."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from adgateway.contract import Binding, Method
from adgateway.strictness import SINGLE_HEADERS

from .running import message_class

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


class Way(NamedTuple):
    """A request that gives `field` twice, or in the wrong place."""

    what: str
    field: str
    query: str = ""
    body: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def is_ours(field: FieldDescriptor) -> bool:
    return (
        field.message_type is not None and not is_map(field) and field.message_type.full_name.startswith("adplatform.")
    )


def spellings(field: FieldDescriptor) -> list[str]:
    return list(dict.fromkeys([field.json_name, field.name]))


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def value_of(field: FieldDescriptor) -> Any:
    """A JSON value of the field that is not its default."""
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


def fields_to_give(message: Descriptor, binding: Binding | None = None) -> list[FieldDescriptor]:
    """The fields that the path does not fill, the first of each oneof."""
    in_path = binding.path_fields if binding else ()
    return [
        field
        for field in message.fields
        if field.name not in in_path and not (field.containing_oneof and field is not field.containing_oneof.fields[0])
    ]


def object_of(message: Descriptor, binding: Binding | None = None, *, spelling: int = 0) -> dict[str, Any]:
    return {spellings(field)[-spelling]: value_of(field) for field in fields_to_give(message, binding)}


def query_of(message: Descriptor, binding: Binding, *, spelling: int = 0) -> dict[str, str]:
    return {
        spellings(field)[-spelling]: _in_query(field)
        for field in fields_to_give(message, binding)
        if not is_ours(field) and not is_map(field)
    }


def request_of(method: Method, binding: Binding) -> Message:
    """The request with every field, those of the path as `filled` fills them."""
    cls = message_class(method.grpc_path)
    request = cls()
    json_format.ParseDict(object_of(cls.DESCRIPTOR, binding), request)
    for name in binding.path_fields:
        setattr(request, name, "x1")
    return request


def ways(method: Method, binding: Binding) -> Iterator[Way]:
    """Every way to give a field of the binding twice."""
    message = message_class(method.grpc_path).DESCRIPTOR
    yield from _of_path(message, binding)
    if binding.body == "*":
        yield from _query_beside_body(message, binding)
        for field, body in _twice_in(message, binding.path_fields):
            yield Way("twice in the body", field, body=body)
    elif binding.body:
        for name in (binding.body, f"{binding.body}.data", f"{binding.body}.contentType"):
            yield Way("query beside the raw body", name.split(".")[0], query=f"{name}=QQ==", body="{}")
    else:
        yield from _twice_in_query(message, binding)
        yield Way("body of a call without one", "body", body='{"x": 1}')
    for name in SINGLE_HEADERS:
        yield Way("header twice", name, headers=((name, "a"), (name, "b")))
        yield Way("header with a list", name, headers=((name, "a, b"),))


def _of_path(message: Descriptor, binding: Binding) -> Iterator[Way]:
    for name in binding.path_fields:
        field = message.fields_by_name[name]
        for spelling in spellings(field):
            escaped = f"%{ord(spelling[0]):02x}{spelling[1:]}"
            for shown in (spelling, escaped):
                for value in ("x1", "x3"):
                    yield Way("query beside the path", field.json_name, query=f"{shown}={value}")
            for value in ("x1", "x3", None):
                if binding.body == "*":
                    yield Way("body beside the path", field.json_name, body=json.dumps({spelling: value}))
                elif not binding.body:
                    yield Way("body beside the path", "body", body=json.dumps({spelling: value}))


def _query_beside_body(message: Descriptor, binding: Binding) -> Iterator[Way]:
    for field in fields_to_give(message, binding):
        for spelling in spellings(field):
            value = value_of(field)
            for body in ("{}", json.dumps({spelling: value}), None):
                if is_ours(field):
                    for inner in field.message_type.fields:
                        path = f"{field.json_name}.{inner.json_name}"
                        yield Way("query beside the body", path, query=f"{path}={_in_query(inner)}", body=body)
                else:
                    query = f"{spelling}={_in_query(field)}"
                    yield Way("query beside the body", field.json_name, query=query, body=body)
    yield Way("query of a call without one", "nope", query="nope=1", body="{}")


def _twice_in_query(message: Descriptor, binding: Binding) -> Iterator[Way]:
    for field in fields_to_give(message, binding):
        if field.is_repeated or is_ours(field):  # a map is repeated
            continue
        value = _in_query(field)
        for first in spellings(field):
            yield Way("query without a value", field.json_name, query=first)
            for second in spellings(field):
                yield Way("twice in the query", field.json_name, query=f"{first}={value}&{second}={value}")


def _in_query(field: FieldDescriptor) -> str:
    value = _one(field)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _twice_in(message: Descriptor, in_path: tuple[str, ...] = (), at: str = "") -> Iterator[tuple[str, str]]:
    """JSON objects of the message with one field twice at some depth, and that field's path."""
    for field in message.fields:
        if field.name in in_path:
            continue
        value, first = json.dumps(value_of(field)), field.json_name
        yield at + first, f'{{"{first}":{value},"{first}":{value}}}'
        yield at + first, f'{{"{first}":null,"\\u{ord(first[0]):04x}{first[1:]}":{value}}}'
        if field.name != first:
            yield at + first, f'{{"{first}":{value},"{field.name}":{value}}}'
            yield at + first, f'{{"{field.name}":{value},"{first}":{value}}}'
        for path, inner in _twice_inside(field, at + first):
            yield path, f'{{"{first}":{inner}}}'
        if field.containing_oneof and len(others := field.containing_oneof.fields) > 1:
            for other in others:
                if other is not field:
                    second = json.dumps(value_of(other))
                    yield at + other.json_name, f'{{"{first}":{value},"{other.name}":{second}}}'


def _twice_inside(field: FieldDescriptor, path: str) -> Iterator[tuple[str, str]]:
    if is_map(field):
        yield f"{path}.a", '{"a":null}'
    elif field.is_repeated:
        yield f"{path}[0]", "[null]"
        yield f"{path}[1]", f"[{json.dumps(_one(field))},[]]"
    if is_ours(field):
        place = f"{path}[0]." if field.is_repeated else f"{path}."
        for inner, body in _twice_in(field.message_type, at=place):
            yield inner, f"[{body}]" if field.is_repeated else body
    elif field.message_type and field.message_type.full_name == "google.protobuf.Struct":
        yield f"{path}.a", '{"a":1,"a":2}'
        yield f"{path}.b[1].c", '{"b":[1,{"c":1,"d":{},"c":1}]}'


def headers_of(way: Way, others: Mapping[str, str]) -> list[tuple[str, str]]:
    """The way's headers, and the others where they are not what it is about."""
    own = {name for name, _ in way.headers}
    return [*((name, value) for name, value in others.items() if name not in own), *way.headers]
