"""API keys: limited by their permissions, their networks and the rights of their creator."""

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
    """Answers every method with an empty message, and records the calls."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __getattr__(self, method: str) -> Callable[[object, Call], object]:
        answers = {"CreateRole": roles_pb2.Role, "ListRoles": roles_pb2.ListRolesResponse}

        def answer(_request: object, call: Call) -> object:
            self.calls.append(call)
            return answers[method]()

        return answer


@dataclass
class Platform:
    """A running server, a person in an organization and an API key they created."""

    identities: Identities
    access: FakeAccess
    servicer: Servicer
    creator: Person
    organization: UUID
    roles: roles_pb2_grpc.RoleServiceStub
    channel: grpc.Channel

    def key(self, **changes: object) -> ApiKey:
        key = ApiKey(uuid4(), self.creator.user_id, self.organization, mask([Permission.ORGANIZATIONS_UPDATE]))
        key = replace(key, **changes)  # type: ignore[arg-type]  # the tests name the fields
        self.access.add_api_key(KEY, key)
        return key

    def create_role(self, *more: tuple[str, str], key: str = KEY) -> str:
        """Creates a role with the key; returns the reason of a refusal, or an empty string."""
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
def platform() -> Iterator[Platform]:
    identities, access, servicer = Identities(), FakeAccess(), Servicer()
    creator, organization = identities.person(), uuid4()
    access.grant(Person(creator.user_id), organization, 1, Permission.ORGANIZATIONS_UPDATE, Permission.USERS_READ)
    process = ServiceProcess({ROLES: servicer, ACCESS: servicer}, identities.verifier(), access, FakeAuditTrail())
    with running(process) as server, stub_channel(server) as channel:
        yield Platform(
            identities, access, servicer, creator, organization, roles_pb2_grpc.RoleServiceStub(channel), channel
        )


def test_api_key_acts_for_its_creator_in_its_organization(platform: Platform) -> None:
    key = platform.key()
    assert platform.create_role() == ""
    assert platform.create_role(("organization-id", str(platform.organization))) == ""
    caller = platform.servicer.calls[-1].caller
    assert (caller.user_id, caller.organization_id, caller.api_key) == (
        platform.creator.user_id,
        platform.organization,
        key,
    )


def test_method_without_permissions_accepts_any_api_key(platform: Platform) -> None:
    platform.key(permissions=0)
    platform.roles.ListRoles(roles_pb2.ListRolesRequest(), metadata=[("x-api-key", KEY)])
    assert platform.servicer.calls[-1].caller.organization_id == platform.organization


def test_api_key_is_limited_to_its_own_permissions(platform: Platform) -> None:
    platform.key(permissions=mask([Permission.USERS_READ]))
    assert platform.create_role() == "PERMISSION_MISSING"


def test_api_key_is_limited_to_its_creators_permissions(platform: Platform) -> None:
    platform.key()
    platform.access.grant(Person(platform.creator.user_id), platform.organization, 1, Permission.USERS_READ)
    assert platform.create_role() == "PERMISSION_MISSING"


def test_error_names_whether_key_or_creator_lacks_the_permission(platform: Platform) -> None:
    def message_of(key: Permission.ValueType, creator: Permission.ValueType) -> str:
        platform.key(permissions=mask([key]))
        platform.access.grant(Person(platform.creator.user_id), platform.organization, 1, creator)
        with pytest.raises(grpc.RpcError) as refused:
            platform.roles.CreateRole(roles_pb2.CreateRoleRequest(name="Buyer"), metadata=[("x-api-key", KEY)])
        return rpc_status.from_call(refused.value).message

    of_creator = "the person who created this API key does not have ORGANIZATIONS_UPDATE here"
    assert message_of(key=Permission.ORGANIZATIONS_UPDATE, creator=Permission.USERS_READ) == of_creator
    of_key = "this API key does not have ORGANIZATIONS_UPDATE"
    assert message_of(key=Permission.USERS_READ, creator=Permission.ORGANIZATIONS_UPDATE) == of_key
    assert message_of(key=Permission.USERS_READ, creator=Permission.USERS_READ) == of_key


def test_administrators_api_key_is_limited_to_its_own_permissions(platform: Platform) -> None:
    platform.key()
    platform.access.grant(Person(platform.creator.user_id), platform.organization, 3, Permission.ADMIN_FULL)
    assert platform.create_role() == ""
    assert not platform.servicer.calls[-1].caller.has_permission(Permission.ADMIN_FULL)


def test_api_key_ends_with_its_creators_membership(platform: Platform) -> None:
    platform.key(user_id=uuid4())
    assert platform.create_role() == "API_KEY_INVALID"


def test_expired_or_unknown_api_key_is_refused(platform: Platform) -> None:
    platform.key(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert platform.create_role() == "API_KEY_INVALID"
    assert platform.create_role(key=api_key_format.generate()) == "API_KEY_INVALID"


def test_api_key_belongs_to_one_organization(platform: Platform) -> None:
    platform.key()
    assert platform.create_role(("organization-id", str(uuid4()))) == "NOT_A_MEMBER"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", ""),
        ("198.51.100.1", "ADDRESS_NOT_ALLOWED"),
        ("nonsense", "ADDRESS_NOT_ALLOWED"),
        ("", "ADDRESS_NOT_ALLOWED"),
    ],
)
def test_api_key_works_only_from_its_networks(platform: Platform, address: str, expected: str) -> None:
    platform.key(networks=(ip_network("192.0.2.0/24"),))
    assert platform.create_role(("x-forwarded-for", address)) == expected


def test_api_key_together_with_a_token_is_refused(platform: Platform) -> None:
    platform.key()
    token = platform.identities.token(platform.creator)
    assert platform.create_role(("authorization", f"Bearer {token}")) == "INVALID_FIELD"


def test_internal_rpcs_refuse_api_keys(platform: Platform) -> None:
    platform.key()
    with pytest.raises(grpc.RpcError) as refused:
        auth_pb2_grpc.AccessServiceStub(platform.channel).GetAccess(
            auth_pb2.GetAccessRequest(user_id=str(uuid4())), metadata=[("x-api-key", KEY)]
        )
    assert reason(refused.value) == "SERVICE_NOT_ALLOWED"


def test_malformed_api_key_is_refused_without_a_lookup(platform: Platform) -> None:
    platform.key()
    platform.access.add_api_key("adk_test", ApiKey(uuid4(), platform.creator.user_id, platform.organization, 0))
    assert platform.create_role(key="adk_test") == "API_KEY_INVALID"
