"""The audit records of all mutating methods of the contract."""

from importlib import import_module
from pkgutil import walk_packages

import adplatform
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from adlib.rpc import Call
from adlib.rpc.audit import audited, is_mutating
from adlib.rpc.contract import rule
from adtesting import FakeAuditTrail

METHODS = [
    method
    for module in walk_packages(adplatform.__path__, "adplatform.")
    if module.name.endswith("_pb2")
    for service in import_module(module.name).DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if is_mutating(method)
]
NAMES_THINGS = ("id", "code")


class Filled:
    """Messages with a different text in every field, each of which could be taken for an id."""

    def __init__(self) -> None:
        self.field_of: dict[str, str] = {}

    def message(self, kind: type[Message], depth: int = 0) -> Message:
        made = kind()
        for field in made.DESCRIPTOR.fields:
            if field.type == field.TYPE_STRING:
                text = f"secret{len(self.field_of):04}"
                self.field_of[text] = field.name
                if field.is_repeated:
                    getattr(made, field.name).append(text)
                else:
                    setattr(made, field.name, text)
            elif field.message_type and not field.is_repeated and depth < 3:
                part = self.message(GetMessageClass(field.message_type), depth + 1)
                getattr(made, field.name).CopyFrom(part)
        return made


@pytest.mark.parametrize("method", METHODS, ids=[method.full_name for method in METHODS])
def test_audit_event_contains_only_ids_of_the_call(method: MethodDescriptor) -> None:
    filled, trail = Filled(), FakeAuditTrail()
    request = filled.message(GetMessageClass(method.input_type))
    answer = filled.message(GetMessageClass(method.output_type))
    call = Call(method.full_name, {"authorization": "Bearer secret", "x-api-key": "secret"}, "r-1")
    call.service = "operator"
    assert audited(method, rule(method), trail, lambda _request, _call: answer)(request, call) is answer
    (event,) = trail.events
    record = event.audit_recorded
    assert record.action == f"{method.full_name.split('.')[1]}.{method.name}"
    assert record.service == "operator"
    text = str(event)
    named = {field for value, field in filled.field_of.items() if value in text}
    assert all(field in NAMES_THINGS or field.endswith("_id") for field in named)
    assert text.count("secret") == sum(value in text for value in filled.field_of)


def test_every_service_has_mutating_methods() -> None:
    packages = {method.full_name.split(".")[1] for method in METHODS}
    assert packages == {"auth", "campaign", "payment", "pixel", "publisher"}
