"""The source of the Lua filter that validates requests, with the contract's messages and bindings as tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet

from adgateway.contract import Binding, Method

# Headers of the caller's identity, organization and idempotency key. The services read one value of each.
SINGLE_HEADERS = ("authorization", "x-api-key", "organization-id", "idempotency-key")
# A comma is refused too: a proxy in front may have joined a repeated header by commas.
ONE_VALUE = "must have one value; send the header once and without a comma"

# Messages of other packages, such as google.protobuf.Timestamp, have a JSON form that is not an object of their fields.
_OURS = "adplatform."

# In order of dependency.
_SOURCES = ("text", "contract", "json", "query", "requests", "responses")


def script(descriptor_set: Path, methods: Sequence[Method]) -> str:
    """The filter's source, preceded by the contract's tables."""
    messages = dict(_messages(FileDescriptorSet.FromString(descriptor_set.read_bytes())))
    bindings = [binding for method in methods for binding in method.bindings]
    lines = [
        "local messages = {",
        *(f'["{name}"]={{{",".join(_fields(messages[name], messages))}}},' for name in _reachable(bindings, messages)),
        "}",
        "local bindings = {",
        *(f'["{binding.name}"]={_binding(binding)},' for binding in bindings),
        "}",
        # A route refuses a repeated authorization header, which Envoy joins by commas.
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
    """The names of the messages that requests consist of."""
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
