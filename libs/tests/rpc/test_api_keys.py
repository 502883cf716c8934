"""An API key opens what it was made for, from where it may be used, as long as its maker may the same."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.auth.v1 import auth_pb2, auth_pb2_grpc, roles_pb2, roles_pb2_grpc
from adplatform.options.v1.options_pb2 import Permission
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adlib import api_key_format
from adlib.identity import ApiKey, Person
from adlib.permissions import mask
from adlib.rpc import Call, ServiceProcess
from adtesting import FakeAccess, FakeAuditTrail, Identities, running, stub_channel

ROLES = roles_pb2.DESCRIPTOR.services_by_name["RoleService"]
ACCESS = auth_pb2.DESCRIPTOR.services_by_name["AccessService"]
KEY = api_key_format.generate()


class Servicer:
    """Answers every method with an empty message, and remembers who called."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __getattr__(self, method: str) -> Callable[[object, Call], object]:
        answers = {"CreateRole": roles_pb2.Role, "ListRoles": roles_pb2.ListRolesResponse}

        def answer(_request: object, call: Call) -> object:
            self.calls.append(call)
            return answers[method]()

        return answer


@dataclass
class World:
    """A running server, a person in an organization and a key of theirs."""

    identities: Identities
    access: FakeAccess
    servicer: Servicer
    maker: Person
    organization: UUID
    roles: roles_pb2_grpc.RoleServiceStub
    channel: grpc.Channel

    def key(self, **changes: object) -> ApiKey:
        key = ApiKey(uuid4(), self.maker.user_id, self.organization, mask([Permission.ORGANIZATIONS_UPDATE]))
        key = replace(key, **changes)  # type: ignore[arg-type]  # the tests name the fields
        self.access.add_api_key(KEY, key)
        return key

    def create_role(self, *more: tuple[str, str], key: str = KEY) -> str:
        """What making a role by the key is refused for; empty where it is not."""
        request = roles_pb2.CreateRoleRequest(name="Buyer")
        try:
            self.roles.CreateRole(request, metadata=[("x-api-key", key), *more])
        except grpc.RpcError as error:
            return reason(error)
        return ""


def reason(error: grpc.RpcError) -> str:
    info = ErrorInfo()
    assert any(detail.Unpack(info) for detail in rpc_status.from_call(error).details)
    return info.reason


@pytest.fixture
def world() -> Iterator[World]:
    identities, access, servicer = Identities(), FakeAccess(), Servicer()
    maker, organization = identities.person(), uuid4()
    access.grant(Person(maker.user_id), organization, 1, Permission.ORGANIZATIONS_UPDATE, Permission.USERS_READ)
    worker = ServiceProcess({ROLES: servicer, ACCESS: servicer}, identities.verifier(), access, FakeAuditTrail())
    with running(worker) as server, stub_channel(server) as channel:
        yield World(identities, access, servicer, maker, organization, roles_pb2_grpc.RoleServiceStub(channel), channel)


def test_a_key_acts_for_its_maker_in_its_organization(world: World) -> None:
    key = world.key()
    assert world.create_role() == ""
    assert world.create_role(("organization-id", str(world.organization))) == ""
    caller = world.servicer.calls[-1].caller
    assert (caller.user_id, caller.organization_id, caller.api_key) == (world.maker.user_id, world.organization, key)


def test_a_key_needs_no_permission_where_nobody_does(world: World) -> None:
    world.key(permissions=0)
    world.roles.ListRoles(roles_pb2.ListRolesRequest(), metadata=[("x-api-key", KEY)])
    assert world.servicer.calls[-1].caller.organization_id == world.organization


def test_a_key_may_no_more_than_it_was_made_for(world: World) -> None:
    world.key(permissions=mask([Permission.USERS_READ]))
    assert world.create_role() == "PERMISSION_MISSING"


def test_a_key_may_no_more_than_its_maker(world: World) -> None:
    world.key()
    world.access.grant(Person(world.maker.user_id), world.organization, 1, Permission.USERS_READ)
    assert world.create_role() == "PERMISSION_MISSING"


def test_whose_permission_is_missing_is_told(world: World) -> None:
    def told(key: Permission.ValueType, maker: Permission.ValueType) -> str:
        world.key(permissions=mask([key]))
        world.access.grant(Person(world.maker.user_id), world.organization, 1, maker)
        with pytest.raises(grpc.RpcError) as refused:
            world.roles.CreateRole(roles_pb2.CreateRoleRequest(name="Buyer"), metadata=[("x-api-key", KEY)])
        return rpc_status.from_call(refused.value).message

    of_maker = "the person who created this API key does not have ORGANIZATIONS_UPDATE here"
    assert told(key=Permission.ORGANIZATIONS_UPDATE, maker=Permission.USERS_READ) == of_maker
    of_key = "this API key does not have ORGANIZATIONS_UPDATE"
    assert told(key=Permission.USERS_READ, maker=Permission.ORGANIZATIONS_UPDATE) == of_key
    assert told(key=Permission.USERS_READ, maker=Permission.USERS_READ) == of_key


def test_a_key_of_an_administrator_may_what_it_was_made_for(world: World) -> None:
    world.key()
    world.access.grant(Person(world.maker.user_id), world.organization, 3, Permission.ADMIN_FULL)
    assert world.create_role() == ""
    assert not world.servicer.calls[-1].caller.has_permission(Permission.ADMIN_FULL)


def test_a_key_dies_with_its_makers_membership(world: World) -> None:
    world.key(user_id=uuid4())
    assert world.create_role() == "API_KEY_INVALID"


def test_an_expired_or_unknown_key_is_refused(world: World) -> None:
    world.key(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert world.create_role() == "API_KEY_INVALID"
    assert world.create_role(key=api_key_format.generate()) == "API_KEY_INVALID"


def test_a_key_is_of_one_organization(world: World) -> None:
    world.key()
    assert world.create_role(("organization-id", str(uuid4()))) == "NOT_A_MEMBER"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", ""),
        ("198.51.100.1", "ADDRESS_NOT_ALLOWED"),
        ("nonsense", "ADDRESS_NOT_ALLOWED"),
        ("", "ADDRESS_NOT_ALLOWED"),
    ],
)
def test_a_key_works_from_its_networks_only(world: World, address: str, expected: str) -> None:
    world.key(networks=(ip_network("192.0.2.0/24"),))
    assert world.create_role(("x-forwarded-for", address)) == expected


def test_a_key_beside_a_token_is_refused(world: World) -> None:
    world.key()
    token = world.identities.token(world.maker)
    assert world.create_role(("authorization", f"Bearer {token}")) == "INVALID_FIELD"


def test_internal_rpcs_take_no_key(world: World) -> None:
    world.key()
    with pytest.raises(grpc.RpcError) as refused:
        auth_pb2_grpc.AccessServiceStub(world.channel).GetAccess(
            auth_pb2.GetAccessRequest(user_id=str(uuid4())), metadata=[("x-api-key", KEY)]
        )
    assert reason(refused.value) == "SERVICE_NOT_ALLOWED"


def test_a_mistyped_key_is_refused_without_asking_anybody(world: World) -> None:
    world.key()
    world.access.add_api_key("adk_test", ApiKey(uuid4(), world.maker.user_id, world.organization, 0))
    assert world.create_role(key="adk_test") == "API_KEY_INVALID"
