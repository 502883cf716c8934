"""What wraps every call. A stage takes a method and the next handler, and gives a handler; they are put together once,
when the server is built.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar
from uuid import UUID

import protovalidate
from google.protobuf.message import Message
from prometheus_client import Histogram

from adlib import permissions
from adlib.access import AccessSource
from adlib.db import CheckViolated, UniqueViolated
from adlib.errors import (
    Aborted,
    AppError,
    Internal,
    InvalidArgument,
    NotAMember,
    OrganizationIdRequired,
    PermissionDenied,
    ServiceNotAllowed,
    TokenMissing,
    Violation,
)
from adlib.identity import Person, Service, Verifier
from adlib.rpc.call import Call, Caller
from adlib.rpc.contract import Rule
from adlib.telemetry import logger

Handler = Callable[[Message, Call], Message]

# When the call being worked on must be answered, by time.monotonic(); what it calls gets no longer.
deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))

# Named in an answer; thousands would not fit into the trailers that carry them, and the client would see another error.
_MOST_VIOLATIONS = 20

_seconds = Histogram(
    "rpc_server_seconds", "Time to answer", ["method", "code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)  # fmt: skip
_log = logger(__name__)


def observed(method: str, following: Handler) -> Handler:
    """Logs and counts the call; turns what nobody expected into INTERNAL."""

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


def authorized(rule: Rule, verifier: Verifier, access: AccessSource, following: Handler) -> Handler:
    """Lets through whom the contract's rule lets through, and tells the call who that is."""
    if rule.public:
        return following

    def handle(request: Message, call: Call) -> Message:
        scheme, _, token = call.header("authorization").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise TokenMissing("sign in and send the access token as 'Authorization: Bearer …'")
        principal = verifier.verify(token)
        if isinstance(principal, Service):
            if principal.name not in rule.services:
                raise ServiceNotAllowed(f"{principal.name} may not call {call.method}")
            call.service = principal.name
        else:
            call.caller = _person(rule, access, principal, call)
        return following(request, call)

    return handle


def _person(rule: Rule, access: AccessSource, person: Person, call: Call) -> Caller:
    if rule.services:
        raise ServiceNotAllowed("only the platform's own services may do this")
    if not rule.needs_organization:
        access.access(person, None)
        return Caller(person.user_id, person.session_id)
    try:
        organization_id = UUID(call.header("organization-id"))
    except ValueError:
        raise OrganizationIdRequired("the organization-id header must name the organization, as a UUID") from None
    standing = access.access(person, organization_id)
    if not standing.member:
        raise NotAMember("you are not a member of the organization in the organization-id header")
    if not permissions.satisfies(standing.permissions, required_all=rule.required_all, required_any=rule.required_any):
        required = ",".join(permissions.names(rule.required_all or rule.required_any))
        raise PermissionDenied(f"your role in this organization does not have {required}", required=required)
    return Caller(person.user_id, person.session_id, organization_id, standing.kind, standing.permissions)


def validated(following: Handler) -> Handler:
    """Holds the request to the contract's field rules (5 µs a message)."""

    def handle(request: Message, call: Call) -> Message:
        if found := protovalidate.collect_violations(request):
            violations = [_violation(one) for one in found[:_MOST_VIOLATIONS]]
            first = violations[0]
            raise InvalidArgument(f"{first.field or 'the request'}: {first.description}", violations=violations)
        return following(request, call)

    return handle


def _violation(found: protovalidate.Violation) -> Violation:
    path = ""
    for element in found.proto.field.elements if found.proto.field else ():
        name = _camel(element.field_name)
        path += f".{name}" if path else name
        if element.subscript is not None and element.subscript.field == "index":
            path += f"[{element.subscript.value}]"
    return Violation(path, found.proto.message)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def conflicts(following: Handler) -> Handler:
    """A constraint that no store gave a meaning to: the caller raced another call."""

    def handle(request: Message, call: Call) -> Message:
        try:
            return following(request, call)
        except (UniqueViolated, CheckViolated) as error:
            _log.warning("constraint", name=error.constraint, exc_info=True)
            raise Aborted("another call is doing the same right now; read again and try again") from error

    return handle
