"""The contract's option `verified_email`: methods whose effect outlives the session need a verified e-mail."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.auth.v1 import api_keys_pb2 as pb
from adplatform.auth.v1 import api_keys_pb2_grpc
from adplatform.options.v1 import options_pb2
from adplatform.options.v1.options_pb2 import Permission
from google.protobuf import descriptor_pb2, descriptor_pool
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adlib import api_key_format
from adlib.identity import ApiKey, Person
from adlib.permissions import mask
from adlib.rpc import Call, ServiceProcess
from adlib.rpc.contract import ContractError, rule
from adtesting import FakeAccess, FakeAuditTrail, Identities, running, stub_channel

API_KEYS = pb.DESCRIPTOR.services_by_name["ApiKeyService"]
KEY = api_key_format.generate()
RIGHTS = (Permission.ORGANIZATIONS_UPDATE,)


class Keys:
    """Answers with empty messages."""

    def CreateApiKey(self, _request: pb.CreateApiKeyRequest, _call: Call) -> pb.CreateApiKeyResponse:
        return pb.CreateApiKeyResponse()

    def ListApiKeys(self, _request: pb.ListApiKeysRequest, _call: Call) -> pb.ListApiKeysResponse:
        return pb.ListApiKeysResponse()

    def RevokeApiKey(self, _request: pb.RevokeApiKeyRequest, _call: Call) -> pb.RevokeApiKeyResponse:
        return pb.RevokeApiKeyResponse()


@dataclass
class Platform:
    """A person with an API key, and the service that they call."""

    identities: Identities
    access: FakeAccess
    person: Person
    organization: UUID
    keys: api_keys_pb2_grpc.ApiKeyServiceStub

    def grant(self, *rights: int, email_verified: bool) -> None:
        for person in (self.person, Person(self.person.user_id)):
            self.access.grant(person, self.organization, 1, *rights, email_verified=email_verified)

    def create(self, *, by_key: bool = False) -> tuple[str, str]:
        """Creates a key; returns the code and the reason of a refusal, or empty strings."""
        signed_in = self.identities.headers(self.person, self.organization)
        request = pb.CreateApiKeyRequest(name="program", permissions=[Permission.USERS_READ])
        try:
            self.keys.CreateApiKey(request, metadata=[("x-api-key", KEY)] if by_key else signed_in)
        except grpc.RpcError as error:
            return error.code().name, reason(error)
        return "", ""


def reason(error: grpc.RpcError) -> str:
    info = ErrorInfo()
    assert any(detail.Unpack(info) for detail in rpc_status.from_call(error).details)
    return info.reason


@pytest.fixture
def platform() -> Iterator[Platform]:
    identities, access = Identities(), FakeAccess()
    person, organization = identities.person(), uuid4()
    access.add_api_key(KEY, ApiKey(uuid4(), person.user_id, organization, mask(RIGHTS)))
    process = ServiceProcess({API_KEYS: Keys()}, identities.verifier(), access, FakeAuditTrail())
    with running(process) as server, stub_channel(server) as channel:
        yield Platform(identities, access, person, organization, api_keys_pb2_grpc.ApiKeyServiceStub(channel))


@pytest.mark.parametrize("by_key", [False, True], ids=["session", "API key"])
def test_unverified_email_cannot_create_what_outlives_the_session(platform: Platform, by_key: bool) -> None:
    platform.grant(*RIGHTS, email_verified=False)
    assert platform.create(by_key=by_key) == ("FAILED_PRECONDITION", "EMAIL_NOT_VERIFIED")
    platform.grant(*RIGHTS, email_verified=True)
    assert platform.create(by_key=by_key) == ("", "")


def test_unverified_email_can_list_and_revoke(platform: Platform) -> None:
    platform.grant(*RIGHTS, email_verified=False)
    headers = platform.identities.headers(platform.person, platform.organization)
    assert platform.keys.ListApiKeys(pb.ListApiKeysRequest(), metadata=headers) == pb.ListApiKeysResponse()
    request = pb.RevokeApiKeyRequest(api_key_id=str(uuid4()))
    assert platform.keys.RevokeApiKey(request, metadata=headers) == pb.RevokeApiKeyResponse()


def test_missing_permission_is_reported_before_the_unverified_email(platform: Platform) -> None:
    platform.grant(Permission.USERS_READ, email_verified=False)
    assert platform.create() == ("PERMISSION_DENIED", "PERMISSION_MISSING")


@pytest.mark.parametrize("who", ["public", "signed_in", "authenticated"])
def test_verified_email_needs_a_member(who: str) -> None:
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name=f"{who}.proto", package="open")
    file.message_type.add(name="M")
    method = file.service.add(name="Open").method.add(name="Do", input_type=".open.M", output_type=".open.M")
    auth = options_pb2.Auth(verified_email=True)
    setattr(auth, who, True)
    method.options.Extensions[options_pb2.auth].CopyFrom(auth)
    pool.Add(file)
    with pytest.raises(ContractError, match="verified_email"):
        rule(pool.FindServiceByName("open.Open").methods_by_name["Do"])
