"""The interceptor that records every mutating call in the audit trail: actor, organization, action and outcome."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

import grpc
from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.events.v1.events_pb2 import AuditRecorded, Event
from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

from adlib.audit import AuditTrail
from adlib.clock import SystemClock
from adlib.errors import AppError, Internal
from adlib.ids import new_id
from adlib.rpc.call import NO_ORGANIZATION, Call
from adlib.rpc.contract import Rule
from adlib.rpc.interceptors import Handler

Text = Callable[[Message], str]

_VARIABLE = re.compile(r"\{([a-z_.]+)(?:=[^}]*)?\}")
# Only ids and codes are recorded; an invalid request can have any text in their place.
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OK, _UNKNOWN = "OK", grpc.StatusCode.UNKNOWN.name


def is_mutating(method: MethodDescriptor) -> bool:
    """Whether the method can change state, by the `idempotency_level` of the contract."""
    return bool(method.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS)


def action(method: MethodDescriptor) -> str:
    """The package and the method, such as campaign.StartCampaign."""
    _, package, *_ = method.full_name.split(".")
    return f"{package}.{method.name}"


@dataclass(frozen=True, slots=True)
class Resource:
    """The resource of a method's calls, as a path; prepared once a method."""

    path_of: Text
    created_id_of: Text

    @classmethod
    def of(cls, method: MethodDescriptor) -> "Resource":
        """Uses the method's HTTP path, or without one the first id of its request."""
        http = method.GetOptions().Extensions[annotations_pb2.http]
        path: str = getattr(http, http.WhichOneof("pattern") or "", "")
        template = path.lstrip("/") or _template(method.input_type)
        return cls(partial(_filled, template, _VARIABLE.findall(template)), _id_of(method.output_type))

    def __call__(self, request: Message, answer: Message | None) -> str:
        """The path with the request's ids, and with the id of a created resource at its end."""
        path = self.path_of(request)
        created = self.created_id_of(answer) if answer is not None else ""
        return path if not _ID.fullmatch(created) or created in path.split("/") else f"{path}/{created}"


def _template(request: Descriptor) -> str:
    names = [field.name for field in request.fields if field.name.endswith("_id")]
    # The organization has its own field in the event.
    name = next((name for name in names if name != "organization_id"), "") or next(iter(names), "")
    return f"{name.removesuffix('_id')}s/{{{name}}}" if name else ""


def _filled(template: str, variables: list[str], request: Message) -> str:
    for variable in variables:
        value: object = request
        for name in variable.split("."):
            value = getattr(value, name)
        if _ID.fullmatch(str(value)):
            template = template.replace(f"{{{variable}}}", str(value))
    return template


def _id_of(answer: Descriptor) -> Text:
    """A function that finds the id of the answered resource: the answer's own, or that of its only nested message."""
    for name in ("id", "code"):
        if name in answer.fields_by_name:
            return lambda message: str(getattr(message, name))
    parts = [
        field.name
        for field in answer.fields
        if field.message_type and not field.is_repeated and "id" in field.message_type.fields_by_name
    ]
    if len(parts) != 1:
        return lambda _message: ""
    return lambda message: str(getattr(message, parts[0]).id)


def audited(method: MethodDescriptor, rule: Rule, trail: AuditTrail, following: Handler) -> Handler:
    """Records each call of a mutating method once."""
    action_name, resource = action(method), Resource.of(method)
    clock = SystemClock()
    has_organization = "organization_id" in method.input_type.fields_by_name

    def event(
        request: Message, call: Call, id: UUID, time: datetime, *, answer: Message | None = None,
        outcome: str = _UNKNOWN, reason: str = "",
    ) -> Event:  # fmt: skip
        record = AuditRecorded(
            action=action_name, resource=resource(request, answer), outcome=outcome, reason=reason, address=call.address
        )
        organization_id = _actor(record, call)
        # A refused call of an unknown caller does not belong in the log of the organization that the request names.
        if organization_id == NO_ORGANIZATION and has_organization and (call.service or outcome in (_OK, _UNKNOWN)):
            organization_id = _uuid(getattr(request, "organization_id"))  # noqa: B009 - a Message has it by contract
        recorded = Event(
            id=str(id), organization_id=str(organization_id), request_id=call.request_id, audit_recorded=record
        )
        recorded.time.FromDatetime(time)
        return recorded

    def is_recorded(call: Call, error: AppError) -> bool:
        # The call was not executed, and a flood of calls must not become a flood of records.
        if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return False
        if call.service or call.known_caller:
            return rule.public or error.code is not grpc.StatusCode.UNAUTHENTICATED
        # An unknown caller's call is not executed during an outage either.
        return call.is_rate_limited and error.code is not grpc.StatusCode.UNAVAILABLE

    def handle(request: Message, call: Call) -> Message:
        make_event = partial(event, request, call, new_id(), clock.now())
        with trail.entry(make_event) as entry:
            try:
                answer = following(request, call)
            except Exception as error:
                answered = error if isinstance(error, AppError) else Internal()
                if entry.is_pending or is_recorded(call, answered):
                    reason = ErrorReason.Name(answered.reason) if answered.reason else ""
                    entry.record(make_event(outcome=answered.code.name, reason=reason))
                raise
            entry.record(make_event(answer=answer, outcome=_OK))
            return answer

    return handle


def _actor(record: AuditRecorded, call: Call) -> UUID:
    """Writes the actor into the record and returns the organization that they act for, or NO_ORGANIZATION."""
    caller = call.known_caller
    if call.service:
        record.actor, record.service = AuditRecorded.SERVICE, call.service
        return NO_ORGANIZATION
    if caller is None:
        record.actor = AuditRecorded.ANYONE
        return NO_ORGANIZATION
    record.user_id = str(caller.user_id)
    if caller.api_key is None:
        record.actor = AuditRecorded.PERSON
        return caller.organization_id
    record.actor, record.api_key_id = AuditRecorded.API_KEY, str(caller.api_key.id)
    return caller.api_key.organization_id


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        return NO_ORGANIZATION
