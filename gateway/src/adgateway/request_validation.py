"""Gives the Lua filter the contract's messages and bindings."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet

from adgateway.contract import Binding, Method

# Headers that say who calls, for whom and which attempt it is. The services read one value of each.
SINGLE_HEADERS = ("authorization", "x-api-key", "organization-id", "idempotency-key")
# A comma is refused too, because a proxy in front may have joined a repeated header by commas.
ONE_VALUE = "must have one value; send the header once and without a comma"

# The JSON of messages of other packages, such as google.protobuf.Timestamp, is not an object of their fields.
_OURS = "adplatform."

# In this order: each uses what stands before it.
_SOURCES = ("text", "contract", "json", "query", "requests", "answers")


def script(descriptor_set: Path, methods: Sequence[Method]) -> str:
    """The Lua filter's source, with the contract in front."""
    messages = dict(_messages(FileDescriptorSet.FromString(descriptor_set.read_bytes())))
    bindings = [binding for method in methods for binding in method.bindings]
    lines = [
        "local messages = {",
        *(f'["{name}"]={{{",".join(_fields(messages[name], messages))}}},' for name in _reachable(bindings, messages)),
        "}",
        "local bindings = {",
        *(f'["{binding.name}"]={_binding(binding)},' for binding in bindings),
        "}",
        # Envoy joins a repeated authorization header by commas, so that a route could refuse it already.
        f"local SINGLE_HEADERS = {_list(name for name in SINGLE_HEADERS if name != 'authorization')}",
        f'local ONE_VALUE = "{ONE_VALUE}"',
    ]
    sources = files("adgateway") / "lua"
    return "\n".join([*lines, *((sources / f"{name}.lua").read_text() for name in _SOURCES)])


def _binding(binding: Binding) -> str:
    return f'{{request="{binding.request}",body="{binding.body}",path={_list(binding.path_fields)}}}'


def _list(texts: Iterable[str]) -> str:
    return "{" + ",".join(f'"{text}"' for text in texts) + "}"


def _messages(descriptor_set: FileDescriptorSet) -> Iterator[tuple[str, DescriptorProto]]:
    for file in descriptor_set.file:
        if file.package.startswith(_OURS):
            yield from _nested(file.package, file.message_type)


def _nested(prefix: str, messages: Iterable[DescriptorProto]) -> Iterator[tuple[str, DescriptorProto]]:
    for message in messages:
        name = f"{prefix}.{message.name}"
        yield name, message
        yield from _nested(name, message.nested_type)


def _reachable(bindings: Iterable[Binding], messages: Mapping[str, DescriptorProto]) -> list[str]:
    """The messages that requests are made of."""
    found: dict[str, None] = {}
    waiting = [binding.request for binding in bindings]
    while waiting:
        name = waiting.pop()
        if name in messages and name not in found:
            found[name] = None
            waiting += [field.type_name.removeprefix(".") for field in messages[name].field]
    return sorted(found)


def _fields(message: DescriptorProto, messages: Mapping[str, DescriptorProto]) -> Iterator[str]:
    for field in message.field:
        attributes = [f'json="{field.json_name}"', f'name="{field.name}"']
        of = field
        entry = messages.get(field.type_name.removeprefix("."))
        if entry is not None and entry.options.map_entry:
            attributes.append("map=true")
            of = entry.field[1]
        elif field.label == field.LABEL_REPEATED:
            attributes.append("repeated=true")
        if of.type == FieldDescriptorProto.TYPE_MESSAGE:
            attributes.append(f'of="{of.type_name.removeprefix(".")}"')
        if field.HasField("oneof_index") and not field.proto3_optional:
            attributes.append(f'oneof="{message.oneof_decl[field.oneof_index].name}"')
        yield f"{{{','.join(attributes)}}}"
