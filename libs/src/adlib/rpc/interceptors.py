"""The interceptors of every call. Each wraps the next handler in another one, once a method when the server is built.

grpcio's own interceptors would build the chain again for each call.
"""

import time
from collections.abc import Callable, Sequence

import protovalidate
from adplatform.errors.v1.errors_pb2 import ErrorReason
from google.protobuf.message import DecodeError, Message
from prometheus_client import Histogram

from adlib.db import CheckViolated, UniqueViolated
from adlib.errors import Aborted, AppError, Internal, InvalidArgument, InvalidField, Violation
from adlib.rpc.call import Call
from adlib.telemetry import logger

Handler = Callable[[Message, Call], Message]

# Headers with the caller, the organization and the idempotency key; the gateway refuses repeated ones too.
SINGLE_HEADERS = ("authorization", "x-api-key", "organization-id", "idempotency-key")

# In an answer; thousands would exceed the size limit of the trailers, and the client would see another error.
_MAX_VIOLATIONS = 20
# Above this size only the first violation is collected: each takes 12 µs, and 1 MiB can have half a million.
_LARGE_REQUEST_BYTES = 16 * 1024

# protovalidate's messages for these rules list numbers instead of names.
_ENUM_RULES = frozenset({"enum.in", "enum.not_in", "enum.defined_only"})
_MAX_ENUM_NAMES = 10
_REASONS = frozenset(ErrorReason.keys())

# Replaces a request that could not be parsed.
_UNREADABLE = Message()

_seconds = Histogram(
    "rpc_server_seconds", "Time to answer", ["method", "code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)  # fmt: skip
_log = logger(__name__)


def observed(method: str, following: Handler) -> Handler:
    """Logs and measures the call; answers INTERNAL for unexpected exceptions."""

    def handle(request: Message, call: Call) -> Message:
        started = time.perf_counter()
        code = "OK"
        try:
            return following(request, call)
        except AppError as error:
            code = error.code.name
            raise
        except Exception as error:
            code = "INTERNAL"
            _log.error("unexpected_error", method=method, exc_info=True)
            raise Internal from error
        finally:
            took = time.perf_counter() - started
            _seconds.labels(method, code).observe(took)
            _log.info("rpc", method=method, code=code, ms=round(took * 1000, 1))

    return handle


def reader(request_class: type[Message]) -> Callable[[bytes], Message]:
    """Parses requests; returns `_UNREADABLE` for an invalid one, because grpcio answers INTERNAL if this raises."""

    def read(serialized: bytes) -> Message:
        try:
            return request_class.FromString(serialized)
        except DecodeError:
            return _UNREADABLE

    return read


def readable(following: Handler) -> Handler:
    """Refuses a request that could not be parsed."""

    def handle(request: Message, call: Call) -> Message:
        if request is _UNREADABLE:
            raise InvalidArgument("the request is nested too deeply, or is not a message of this method")
        return following(request, call)

    return handle


def unambiguous(following: Handler) -> Handler:
    """Refuses a call with two values of a header in SINGLE_HEADERS, which components could read differently.

    The values of a repeated header are joined by commas, by a proxy or by `Call.headers_of`.
    """

    def handle(request: Message, call: Call) -> Message:
        for name in SINGLE_HEADERS:
            if "," in call.header(name):
                raise InvalidField(name, "must have one value; send the header once and without a comma")
        return following(request, call)

    return handle


def validated(following: Handler) -> Handler:
    """Checks the contract's field rules (5 µs a message)."""

    def handle(request: Message, call: Call) -> Message:
        if found := protovalidate.collect_violations(request, fail_fast=request.ByteSize() > _LARGE_REQUEST_BYTES):
            violations = [_violation(one, request) for one in found[:_MAX_VIOLATIONS]]
            first = violations[0]
            refused = InvalidArgument(f"{first.field or 'the request'}: {first.description}", violations=violations)
            refused.reason = next((reason for one in found if (reason := _reason(one))), refused.reason)
            raise refused
        return following(request, call)

    return handle


def _reason(found: protovalidate.Violation) -> ErrorReason.ValueType | None:
    """The error reason, if the contract's rule has the name of one."""
    rule = found.proto.rule_id
    return ErrorReason.Value(rule) if rule in _REASONS else None


def _violation(found: protovalidate.Violation, request: Message) -> Violation:
    path, fields, enum = "", request.DESCRIPTOR.fields_by_name, None
    for element in found.proto.field.elements if found.proto.field else ():
        name = _camel(element.field_name)
        path += f".{name}" if path else name
        if element.subscript is not None and element.subscript.field == "index":
            path += f"[{element.subscript.value}]"
        if field := fields.get(element.field_name):
            fields, enum = field.message_type.fields_by_name if field.message_type else {}, field.enum_type
    rule = found.proto.rule_id
    if enum and rule in _ENUM_RULES:
        allowed = found.rule_value if rule == "enum.in" else enum.values_by_number
        # Zero stands for an unset field.
        return Violation(path, _one_of([one.name for one in enum.values if one.number and one.number in allowed]))
    return Violation(path, found.proto.message)


def _one_of(names: Sequence[str]) -> str:
    others = f" or {len(names) - _MAX_ENUM_NAMES} more" if len(names) > _MAX_ENUM_NAMES else ""
    return f"must be one of {', '.join(names[:_MAX_ENUM_NAMES])}{others}"


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def conflicts(following: Handler) -> Handler:
    """Answers ABORTED for a constraint violation that no store has translated: two calls raced."""

    def handle(request: Message, call: Call) -> Message:
        try:
            return following(request, call)
        except (UniqueViolated, CheckViolated) as error:
            _log.warning("constraint_violated", name=error.constraint, exc_info=True)
            raise Aborted("another call is doing the same right now; read again and try again") from error

    return handle
