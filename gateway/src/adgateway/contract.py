"""HTTP bindings and authorization of the contract's RPCs."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from adplatform.options.v1 import options_pb2
from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodDescriptorProto, MethodOptions

_VARIABLE = re.compile(r"\{([^{}=]+)(?:=([^{}]*))?\}")
_WILDCARD = re.compile(r"\*\*|\*")


class Token(Enum):
    """The token that the gateway requires; the value is the requirement's name."""

    NONE = "none"
    ACCESS = "access"
    SERVICE = "service"


@dataclass(frozen=True)
class Binding:
    """An HTTP method and path by which an RPC can be called."""

    verb: str
    template: str
    request: str
    """The request message's full name."""
    body: str
    """The field that the body maps to: `*` for all fields that are not in the path, empty for no body."""

    @property
    def name(self) -> str:
        """A unique name."""
        return f"{self.verb} {self.template}"

    @property
    def path_fields(self) -> tuple[str, ...]:
        """The fields in the path, such as `campaign_id` or `bid.model`."""
        return tuple(variable[1] for variable in _VARIABLE.finditer(self.template))


@dataclass(frozen=True)
class Method:
    """An RPC of the contract."""

    service: str
    grpc_service: str
    name: str
    token: Token
    read_only: bool
    server_streaming: bool
    bindings: tuple[Binding, ...]
    """Empty for an RPC that the gateway does not expose."""

    @property
    def grpc_path(self) -> str:
        """The path of the native gRPC call."""
        return f"/{self.grpc_service}/{self.name}"


def read(descriptor_set: Path) -> list[Method]:
    """All RPCs of the descriptor set, in order."""
    return [
        _method(file.package, service.name, method)
        for file in FileDescriptorSet.FromString(descriptor_set.read_bytes()).file
        for service in file.service
        for method in service.method
    ]


def path_pattern(template: str) -> str:
    """The RE2 pattern of the paths that match a template."""
    spread = _VARIABLE.sub(lambda variable: variable[2] or "*", template)
    pattern, end = "", 0
    for wildcard in _WILDCARD.finditer(spread):
        pattern += re.escape(spread[end : wildcard.start()]) + (".+" if wildcard[0] == "**" else "[^/]+")
        end = wildcard.end()
    return pattern + re.escape(spread[end:])


def is_literal(template: str) -> bool:
    """Whether the template matches exactly one path."""
    return "{" not in template and "*" not in template


def precedence(template: str) -> tuple[bool, ...]:
    """A sort key by which a literal segment precedes a variable at the same position."""
    return tuple(not is_literal(segment) for segment in template.split("/"))


def _method(package: str, service: str, method: MethodDescriptorProto) -> Method:
    auth = method.options.Extensions[options_pb2.auth]
    rule = method.options.Extensions[annotations_pb2.http]
    return Method(
        service=f"{package.split('.')[1]}-service",
        grpc_service=f"{package}.{service}",
        name=method.name,
        token=Token.NONE if auth.public else Token.SERVICE if auth.services else Token.ACCESS,
        read_only=method.options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS,
        server_streaming=method.server_streaming,
        bindings=tuple(
            Binding(verb, template, method.input_type.removeprefix("."), body) for verb, template, body in _rules(rule)
        ),
    )


def _rules(rule: http_pb2.HttpRule) -> Iterator[tuple[str, str, str]]:
    pattern = rule.WhichOneof("pattern")
    if pattern == "custom":
        yield rule.custom.kind, rule.custom.path, rule.body
    elif pattern:
        yield pattern.upper(), getattr(rule, pattern), rule.body
    for additional in rule.additional_bindings:
        yield from _rules(additional)
