"""The stage that has every call that changes something recorded: who, on behalf of whom, what, and what came of it."""

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
# What a call is about is told by ids and codes; a request that was refused can have anything in their place.
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OK, _UNKNOWN = "OK", grpc.StatusCode.UNKNOWN.name


def is_mutating(method: MethodDescriptor) -> bool:
    """Whether the contract lets the method change anything."""
    return bool(method.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS)


def action(method: MethodDescriptor) -> str:
    """Package and method, such as campaign.StartCampaign."""
    _, package, *_ = method.full_name.split(".")
    return f"{package}.{method.name}"


@dataclass(frozen=True, slots=True)
class Resource:
    """What a method's calls are about, as a path; prepared once a method."""

    asked: Text
    answered: Text

    @classmethod
    def of(cls, method: MethodDescriptor) -> "Resource":
        """From the method's HTTP path, or the first id of its request where it has none."""
        http = method.GetOptions().Extensions[annotations_pb2.http]
        path: str = getattr(http, http.WhichOneof("pattern") or "", "")
        template = path.lstrip("/") or _template(method.input_type)
        return cls(partial(_filled, template, _VARIABLE.findall(template)), _id_of(method.output_type))

    def __call__(self, request: Message, answer: Message | None) -> str:
        """The path, and at its end the id of what came to be where the path does not have it."""
        path = self.asked(request)
        made = self.answered(answer) if answer is not None else ""
        return path if not _ID.fullmatch(made) or made in path.split("/") else f"{path}/{made}"


def _template(request: Descriptor) -> str:
    names = [field.name for field in request.fields if field.name.endswith("_id")]
    # Whose it is has a field of its own in the event.
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
    """How to find the id of what an answer tells of: its own, or that of the only message in it that has one."""
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
    """Records each call of a method that changes something, once."""
    named, resource = action(method), Resource.of(method)
    clock = SystemClock()
    has_organization = "organization_id" in method.input_type.fields_by_name

    def event(
        request: Message, call: Call, id: UUID, time: datetime, *, answer: Message | None = None,
        outcome: str = _UNKNOWN, reason: str = "",
    ) -> Event:  # fmt: skip
        record = AuditRecorded(
            action=named, resource=resource(request, answer), outcome=outcome, reason=reason, address=call.address
        )
        organization_id = _actor(record, call)
        # What a stranger was refused is not for the log of the organization that they named.
        if organization_id == NO_ORGANIZATION and has_organization and (call.service or outcome in (_OK, _UNKNOWN)):
            organization_id = _uuid(getattr(request, "organization_id"))  # noqa: B009 - a Message has it by contract
        made = Event(
            id=str(id), organization_id=str(organization_id), request_id=call.request_id, audit_recorded=record
        )
        made.time.FromDatetime(time)
        return made

    def is_recorded(call: Call, error: AppError) -> bool:
        # Nothing was tried then, and a flood of calls must not become a flood of records.
        if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return False
        if call.service or call.known_caller:
            return rule.public or error.code is not grpc.StatusCode.UNAUTHENTICATED
        # A stranger's call that met an outage tried nothing, either.
        return call.is_rate_limited and error.code is not grpc.StatusCode.UNAVAILABLE

    def handle(request: Message, call: Call) -> Message:
        made = partial(event, request, call, new_id(), clock.now())
        with trail.entry(made) as entry:
            try:
                answer = following(request, call)
            except Exception as error:
                shown = error if isinstance(error, AppError) else Internal()
                if entry.is_pending or is_recorded(call, shown):
                    reason = ErrorReason.Name(shown.reason) if shown.reason else ""
                    entry.record(made(outcome=shown.code.name, reason=reason))
                raise
            entry.record(made(answer=answer, outcome=_OK))
            return answer

    return handle


def _actor(record: AuditRecorded, call: Call) -> UUID:
    """Writes who calls into the record; the organization that they act for, if any."""
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
