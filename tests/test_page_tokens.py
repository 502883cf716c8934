"""Every list of the contract refuses other lists' page tokens: with such a token it could appear to have ended."""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.options.v1 import options_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adctl.client import Client
from adctl.keys import Keys
from adctl.ports import LOOPBACK
from adctl.state import State
from adlib import paging
from adlib.rpc import NO_ORGANIZATION, Call, Caller

from .callers import Headers, bearer
from .people import staff

pytestmark = pytest.mark.xdist_group("platform")

_PAGING = ("page_size", "page_token")
_PARENT_IDS = ("publisher_id", "payment_id")


def _lists() -> Iterator[MethodDescriptor]:
    pool = DescriptorPool()
    contract = FileDescriptorSet.FromString(files("adplatform").joinpath("gateway.pb").read_bytes()).file
    for file in contract:
        pool.Add(file)
    for file in contract:
        for service in pool.FindFileByName(file.name).services_by_name.values():
            yield from (method for method in service.methods if "page_token" in method.input_type.fields_by_name)


LISTS = list(_lists())


@pytest.fixture(scope="module")
def admin(platform: State) -> Client:
    """A client that may read every list."""
    return staff(platform)


@pytest.mark.parametrize("method", [pytest.param(method, id=method.name) for method in LISTS])
def test_list_accepts_only_its_own_page_tokens(platform: State, admin: Client, method: MethodDescriptor) -> None:
    about = {field.name: str(uuid4()) for field in method.input_type.fields if field.name in _PARENT_IDS}
    service = method.containing_service
    services = method.GetOptions().Extensions[options_pb2.auth].services
    own = NO_ORGANIZATION if services else UUID(admin.organization_id)
    headers = _service_headers(platform, services[0], service) if services else _headers(admin)
    with grpc.insecure_channel(f"{LOOPBACK}:{platform.ports[service.full_name.split('.')[1] + '-service']}") as channel:
        ask = channel.unary_unary(f"/{service.full_name}/{method.name}")

        def answer(token: str, **filters: object) -> str:
            request = _request(method, page_size=3, page_token=token, **about | filters)
            return _reason(ask.future(request.SerializeToString(), metadata=headers, timeout=30))

        token = _token(method, own, **about)
        assert answer(token) == answer("") in ("", "PUBLISHER_NOT_FOUND", "PAYMENT_NOT_FOUND")
        others = {
            "an old token": "AZqr3zEqfG2Qm0Rk0m1mXw",
            "another organization": _token(method, uuid4(), **about),
            **{f"{other.name}": _token(other, own, **about) for other in LISTS if other is not method},
        }
        assert {name: answer(token) for name, token in others.items()} == dict.fromkeys(others, "PAGE_TOKEN_INVALID")
        filters = [field for field in method.input_type.fields if field.name not in _PAGING]
        seen = {field.name: answer(token, **{field.name: _some(field)}) for field in filters}
        assert seen == dict.fromkeys(seen, "PAGE_TOKEN_INVALID")


def test_lists_of_the_contract_are_found() -> None:
    assert {"ListUsers", "ListAuditLogs", "ListCampaigns", "ListPayments", "GetStatement"} <= {
        method.name for method in LISTS
    }


def _request(method: MethodDescriptor, **fields: object) -> Any:
    known = {name: value for name, value in fields.items() if name in method.input_type.fields_by_name}
    return GetMessageClass(method.input_type)(**known)


def _token(method: MethodDescriptor, organization_id: UUID, **fields: object) -> str:
    """The token that this list returns with its first page."""
    call = Call(method.full_name, {}, "")
    call.caller = Caller(organization_id, organization_id=organization_id)
    page = call.page(_request(method, page_size=2, **fields))
    return paging.cut([UUID(int=7)] * page.limit, page, lambda id: id).next_page_token


def _some(field: FieldDescriptor) -> object:
    """An arbitrary valid value for the filter."""
    if field.type == FieldDescriptor.TYPE_ENUM:
        return field.enum_type.values[1].number
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return GetMessageClass(field.message_type)(seconds=1_700_000_000)
    if field.name == "currency_code":
        return "EUR"
    return str(uuid4()) if field.name.endswith("_id") else "shoes"


def _headers(client: Client) -> list[tuple[str, str]]:
    headers: Headers = bearer(client.token, client.organization_id)
    return list(headers.items())


def _service_headers(platform: State, name: str, service: ServiceDescriptor) -> list[tuple[str, str]]:
    audience = service.full_name.split(".")[1] + "-service"
    return list(bearer(Keys(platform.paths.keys).service_token(name, audience)).items())


def _reason(answer: grpc.Call) -> str:
    """The reason of a refusal; empty if the call succeeded."""
    status, info = rpc_status.from_call(answer), ErrorInfo()
    if status is not None:
        any(detail.Unpack(info) for detail in status.details)
    return str(info.reason)
