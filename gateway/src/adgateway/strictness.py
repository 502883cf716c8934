"""Tells strict.lua the messages of the contract."""

from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet

# The JSON of messages of other packages, such as google.protobuf.Timestamp, is not an object of their fields.
_OURS = "adplatform."


def script(descriptor_set: Path) -> str:
    """The Lua filter's source, with the messages in front."""
    lines = [
        f'["{name}"]={{{",".join(_fields(message))}}},'
        for file in FileDescriptorSet.FromString(descriptor_set.read_bytes()).file
        if file.package.startswith(_OURS)
        for name, message in _messages(file.package, file.message_type)
    ]
    return "\n".join(["local messages = {", *lines, "}", (files("adgateway") / "strict.lua").read_text()])


def _messages(prefix: str, messages: Iterable[DescriptorProto]) -> Iterator[tuple[str, DescriptorProto]]:
    for message in messages:
        name = f"{prefix}.{message.name}"
        yield name, message
        yield from _messages(name, message.nested_type)


def _fields(message: DescriptorProto) -> Iterator[str]:
    if message.options.map_entry:
        yield f'["*"]={_message_of(message.field[1])}'
        return
    for field in message.field:
        for name in sorted({field.name, field.json_name}):
            yield f'["{name}"]={_message_of(field)}'


def _message_of(field: FieldDescriptorProto) -> str:
    name = field.type_name.removeprefix(".")
    return f'"{name}"' if field.type == field.TYPE_MESSAGE and name.startswith(_OURS) else "false"
