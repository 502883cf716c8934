"""Calls between services: identity, deadlines, and the errors that are passed on."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import grpc
import pytest
from adplatform.campaign.v1 import campaign_pb2 as pb
from adplatform.campaign.v1 import campaign_pb2_grpc
from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.deadline import deadline
from adlib.errors import DeadlineExceeded, Internal, NotFound, RemoteError, Unavailable
from adlib.identity import ServiceIdentity
from adlib.rpc import Call, Remote, ServiceProcess
from adtesting import FakeAccess, Identities, running

DIRECTORY = pb.DESCRIPTOR.services_by_name["CampaignDirectoryService"]
REQUEST = pb.LookUpCampaignRequest(
    organization_id="0190a6a0-0000-7000-8000-000000000000", campaign_id="0190a6a0-0000-7000-8000-000000000001"
)


class CampaignNotFound(NotFound):
    reason = ErrorReason.CAMPAIGN_NOT_FOUND


class Directory:
    """A directory without campaigns."""

    def LookUpCampaign(self, _request: pb.LookUpCampaignRequest, _call: Call) -> pb.LookUpCampaignResponse:
        raise CampaignNotFound("there is no such campaign", campaignId="1")


@pytest.fixture
def identity() -> ServiceIdentity:
    return IDENTITIES.service("pixel-service")


IDENTITIES = Identities("campaign-service")
IDENTITIES.service("pixel-service")
IDENTITIES.service("payment-service")


@pytest.fixture
def target() -> Iterator[str]:
    process = ServiceProcess({DIRECTORY: Directory()}, IDENTITIES.verifier(), FakeAccess())
    with running(process) as server:
        yield f"127.0.0.1:{server.port}"


def look_up(remote: Remote, within_s: float = 60) -> pb.LookUpCampaignResponse:
    stub = campaign_pb2_grpc.CampaignDirectoryServiceStub(remote.channel)
    return remote.call(stub.LookUpCampaign, REQUEST, within_s=within_s)


def test_error_caused_by_the_client_is_passed_on(target: str, identity: ServiceIdentity) -> None:
    with pytest.raises(RemoteError) as refused:
        look_up(Remote("campaign-service", target, identity))
    assert refused.value.reason == ErrorReason.CAMPAIGN_NOT_FOUND
    assert refused.value.metadata == {"campaignId": "1"}


def test_platform_fault_is_internal(target: str) -> None:
    with pytest.raises(Internal):
        look_up(Remote("campaign-service", target, IDENTITIES.service("payment-service")))


def test_unreachable_service_is_unavailable_and_named(identity: ServiceIdentity) -> None:
    with pytest.raises(Unavailable, match="campaign-service does not answer"):
        look_up(Remote("campaign-service", "127.0.0.1:1", identity))


def test_no_call_is_made_after_the_callers_deadline(target: str, identity: ServiceIdentity) -> None:
    token = deadline.set(0.0)
    try:
        with pytest.raises(DeadlineExceeded):
            look_up(Remote("campaign-service", target, identity))
    finally:
        deadline.reset(token)


class Slow(grpc.GenericRpcHandler):
    """Answers only after the test allows it."""

    def __init__(self) -> None:
        self.called = Event()
        self.go_on = Event()

    def service(self, _details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.unary_unary_rpc_method_handler(self.answer)

    def answer(self, _request: bytes, _context: grpc.ServicerContext) -> bytes:
        self.called.set()
        self.go_on.wait(5)
        return b""


def test_overloaded_service_is_unavailable(identity: ServiceIdentity) -> None:
    slow = Slow()
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads, [slow], maximum_concurrent_rpcs=1)
        target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        with grpc.insecure_channel(target) as channel:
            under_way = channel.unary_unary("/any/Method").future(b"")
            assert slow.called.wait(5)
            with pytest.raises(Unavailable):
                look_up(Remote("campaign-service", target, identity))
            slow.go_on.set()
            assert under_way.result() == b""
        server.stop(0).wait()


def test_call_can_have_a_shorter_timeout(identity: ServiceIdentity) -> None:
    slow = Slow()
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads, [slow])
        target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        with pytest.raises(DeadlineExceeded):
            look_up(Remote("campaign-service", target, identity, timeout_s=60), within_s=0.2)
        slow.go_on.set()
        server.stop(0).wait()
