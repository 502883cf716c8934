"""The interceptors of every call: authorization, validation and errors."""

import time
from collections.abc import Iterator
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.auth.v1.api_keys_pb2 import CreateApiKeyRequest
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.auth.v1.organizations_pb2 import CreateOrganizationRequest
from adplatform.campaign.v1 import campaign_pb2, campaign_pb2_grpc
from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.options.v1.options_pb2 import Permission
from adplatform.pixel.v1 import pixel_pb2 as pb
from adplatform.pixel.v1 import pixel_pb2_grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status
from prometheus_client import REGISTRY

from adlib import telemetry
from adlib.errors import InvalidArgument, NotFound
from adlib.rpc import Call, Server, ServiceProcess, Settings, interceptors
from adlib.rpc.contract import ContractError
from adtesting import FakeAccess, FakeAuditTrail, Identities, running, stub_channel

PIXELS = pb.DESCRIPTOR.services_by_name["PixelService"]
DIRECTORY = campaign_pb2.DESCRIPTOR.services_by_name["CampaignDirectoryService"]


class PixelNotFound(NotFound):
    reason = ErrorReason.PIXEL_NOT_FOUND


class Pixels:
    """Answers with properties of the call."""

    def CreatePixel(self, request: pb.CreatePixelRequest, call: Call) -> pb.Pixel:
        return pb.Pixel(name=request.name, organization_id=str(call.caller.organization_id))

    def ListPixels(self, _request: pb.ListPixelsRequest, _call: Call) -> pb.ListPixelsResponse:
        raise ZeroDivisionError("secret detail")

    def GetPixel(self, request: pb.GetPixelRequest, _call: Call) -> pb.Pixel:
        raise PixelNotFound("there is no such pixel", pixelId=request.pixel_id)

    def DeletePixel(self, _request: pb.DeletePixelRequest, _call: Call) -> pb.DeletePixelResponse:
        return pb.DeletePixelResponse()


class Directory:
    """Answers calls of services."""

    def LookUpCampaign(
        self, _request: campaign_pb2.LookUpCampaignRequest, call: Call
    ) -> campaign_pb2.LookUpCampaignResponse:
        return campaign_pb2.LookUpCampaignResponse(name=call.service)


class Echo:
    """Answers with the tracing headers that the service's own calls would have."""

    def LookUpCampaign(
        self, _request: campaign_pb2.LookUpCampaignRequest, call: Call
    ) -> campaign_pb2.LookUpCampaignResponse:
        return campaign_pb2.LookUpCampaignResponse(name=telemetry.traceparent.get(), target_url=call.request_id)


class Platform:
    """A running server, and its callers."""

    def __init__(self) -> None:
        self.identities = Identities()
        for name in ("pixel-service", "payment-service"):
            self.identities.service(name)
        self.access = FakeAccess()
        self.person = self.identities.person()
        self.organization = uuid4()
        self.access.grant(self.person, self.organization, 1, Permission.CAMPAIGNS_UPDATE, Permission.CAMPAIGNS_READ)
        self.process = ServiceProcess(
            servicers={PIXELS: Pixels(), DIRECTORY: Directory()},
            verifier=self.identities.verifier(),
            access=self.access,
            audit=FakeAuditTrail(),
        )

    def headers(self) -> list[tuple[str, str]]:
        return self.identities.headers(self.person, self.organization)


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def channel(platform: Platform) -> Iterator[grpc.Channel]:
    with running(platform.process) as server, stub_channel(server) as channel:
        yield channel


@pytest.fixture
def pixels(channel: grpc.Channel) -> pixel_pb2_grpc.PixelServiceStub:
    return pixel_pb2_grpc.PixelServiceStub(channel)


def refused(call: object, *arguments: object, **named: object) -> tuple[str, ErrorInfo, BadRequest, str]:
    assert callable(call)
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, **named)
    status = rpc_status.from_call(error.value)
    info, bad = ErrorInfo(), BadRequest()
    for detail in status.details:
        _ = detail.Unpack(info) or detail.Unpack(bad)
    return error.value.code().name, info, bad, status.message


GOOD = pb.CreatePixelRequest(campaign_id=str(uuid4()), name="home")


def test_member_with_the_permission_is_admitted(platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    answer = pixels.CreatePixel(GOOD, metadata=platform.headers())
    assert answer.organization_id == str(platform.organization)


def test_other_callers_are_refused(platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    people = platform.identities
    stranger, reader = people.person(), people.person()
    platform.access.grant(reader, platform.organization, 1, Permission.CAMPAIGNS_READ)
    cases = {
        "TOKEN_MISSING": None,
        "TOKEN_INVALID": [("authorization", "Bearer a.b.c")],
        "NOT_A_MEMBER": people.headers(stranger, platform.organization),
        "PERMISSION_MISSING": people.headers(reader, platform.organization),
        "ORGANIZATION_ID_REQUIRED": people.headers(platform.person),
        "SERVICE_NOT_ALLOWED": people.service_headers("pixel-service"),
    }
    seen = {reason: refused(pixels.CreatePixel, GOOD, metadata=headers)[1].reason for reason, headers in cases.items()}
    assert seen == {reason: reason for reason in cases}


def test_organization_id_must_be_in_canonical_form(platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    wanted, token = str(platform.organization), platform.headers()[:1]
    assert token[0][0] == "authorization"
    for spelling in (wanted, wanted.upper()):
        assert pixels.CreatePixel(GOOD, metadata=[*token, ("organization-id", spelling)]).organization_id == wanted
    bare = platform.organization.hex
    for spelling in (bare, f"{{{wanted}}}", f"urn:uuid:{wanted}", f"{{{bare}}}--", f"{bare[:8]}----{bare[8:]}", ""):
        _, info, _, _ = refused(pixels.CreatePixel, GOOD, metadata=[*token, ("organization-id", spelling)])
        assert info.reason == "ORGANIZATION_ID_REQUIRED", spelling


def test_permission_is_checked_before_the_request_is_validated(
    platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub
) -> None:
    _, info, _, _ = refused(pixels.CreatePixel, pb.CreatePixelRequest(), metadata=None)
    assert info.reason == "TOKEN_MISSING"


def test_internal_rpc_admits_only_the_listed_services(platform: Platform, channel: grpc.Channel) -> None:
    directory = campaign_pb2_grpc.CampaignDirectoryServiceStub(channel)
    request = campaign_pb2.LookUpCampaignRequest(organization_id=str(uuid4()), campaign_id=str(uuid4()))
    answer = directory.LookUpCampaign(request, metadata=platform.identities.service_headers("pixel-service"))
    assert answer.name == "pixel-service"
    for headers in (platform.identities.service_headers("payment-service"), platform.headers()):
        assert refused(directory.LookUpCampaign, request, metadata=headers)[1].reason == "SERVICE_NOT_ALLOWED"


def test_invalid_field_is_reported_by_its_json_name(
    platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub
) -> None:
    request = pb.CreatePixelRequest(campaign_id="7", name="home", goals=["ok", "Not OK"])
    code, info, bad, message = refused(pixels.CreatePixel, request, metadata=platform.headers())
    assert (code, info.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert [violation.field for violation in bad.field_violations] == ["campaignId", "goals[1]"]
    assert message.startswith("campaignId")


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (
            CreateOrganizationRequest(name="x", kind=Organization.PLATFORM),
            [("kind", "must be one of ADVERTISER, PUBLISHER")],
        ),
        (
            campaign_pb2.CreateCampaignRequest(
                networks=[9], bid={"price_micros": 1}, targeting={"devices": [campaign_pb2.Targeting.MOBILE, 0]}
            ),
            [
                ("bid.model", "must be one of CPM, CPC, CPA"),
                ("targeting.devices[1]", "must be one of DESKTOP, MOBILE, TABLET"),
                ("networks[0]", "must be one of TRAFFIC_ENGINE, REVIVE"),
            ],
        ),
    ],
)
def test_invalid_enum_lists_the_names_of_allowed_values(request_: Message, said: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        interceptors.validated(lambda request, _call: request)(request_, Call("", {}, ""))
    violations = [(one.field, one.description) for one in refused.value.violations]
    assert sorted(one for one in violations if "one of" in one[1]) == sorted(said)
    assert not [one for one in violations if "list" in one[1] or "enum" in one[1]]


def test_long_list_of_enum_names_is_truncated() -> None:
    with pytest.raises(InvalidArgument, match="one of") as refused:
        interceptors.validated(lambda request, _call: request)(
            CreateApiKeyRequest(name="x", permissions=[0]), Call("", {}, "")
        )
    (violation,) = refused.value.violations
    first, others = Permission.keys()[1:11], len(Permission.keys()) - 11
    assert violation.description == f"must be one of {', '.join(first)} or {others} more"


def test_only_well_formed_tracing_headers_are_passed_on(platform: Platform) -> None:
    process = ServiceProcess({DIRECTORY: Echo()}, platform.process.verifier, platform.access)
    request = campaign_pb2.LookUpCampaignRequest(organization_id=str(uuid4()), campaign_id=str(uuid4()))
    trace = f"00-{'1' * 32}-{'2' * 16}-01"
    with running(process) as server, stub_channel(server) as channel:
        directory = campaign_pb2_grpc.CampaignDirectoryServiceStub(channel)

        def carried(trace: str, request_id: str) -> tuple[str, str]:
            more = [("traceparent", trace), ("x-request-id", request_id)]
            metadata = platform.identities.service_headers("pixel-service") + more
            answer = directory.LookUpCampaign(request, metadata=metadata)
            return answer.name, answer.target_url

        assert carried(trace, "ours-1") == (trace, "ours-1")
        assert carried(trace + "x", "o" * 65)[0] == ""
        assert UUID(carried("nonsense", "not one")[1])


@pytest.mark.parametrize("headers", [{"x-large": "x" * 32_768}, {f"x-{n}": "x" * 400 for n in range(100)}], ids=len)
def test_headers_of_the_gateways_maximum_size_are_accepted(
    platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub, headers: dict[str, str]
) -> None:
    """gRPC refuses at random between a soft limit and a hard one, so one call is not enough."""
    for _ in range(20):
        assert pixels.CreatePixel(GOOD, metadata=[*platform.headers(), *headers.items()]).name == GOOD.name


class AnswerHeaders:
    """Sets answer headers, and then may raise."""

    def LookUpCampaign(
        self, request: campaign_pb2.LookUpCampaignRequest, call: Call
    ) -> campaign_pb2.LookUpCampaignResponse:
        call.answer_headers["cache-control"] = "no-store"
        if UUID(request.campaign_id).int == 0:
            raise PixelNotFound("there is no such campaign")
        return campaign_pb2.LookUpCampaignResponse(name="Found")


@pytest.mark.parametrize("name", interceptors.SINGLE_HEADERS)
def test_repeated_identity_header_is_refused(
    platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub, name: str
) -> None:
    """Also if both values are valid, or a proxy joined them: components could read different ones."""
    headers = dict(platform.headers())
    value = headers.pop(name, "one")
    others = list(headers.items())
    for sent in ([(name, value), (name, value)], [(name, value), (name, "x")], [(name, f"{value}, {value}")]):
        code, info, bad, message = refused(pixels.CreatePixel, GOOD, metadata=[*others, *sent])
        assert (code, info.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
        assert [violation.field for violation in bad.field_violations] == [name]
        assert "once" in message


def test_other_repeated_headers_are_accepted(platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    repeated = [("accept", "a"), ("accept", "b"), ("trace-bin", b"\xff"), ("trace-bin", b"\xfe")]
    assert pixels.CreatePixel(GOOD, metadata=[*platform.headers(), *repeated]).name == "home"


def test_all_values_of_a_repeated_header_are_kept() -> None:
    sent = [("a", "1"), ("b", "2"), ("a", "3"), ("c-bin", b"\xff"), ("c-bin", b"\xfe")]
    assert Call.headers_of(sent) == {"a": "1,3", "b": "2", "c-bin": "\xff,\xfe"}


def test_repeated_forwarded_for_header_gives_no_address(platform: Platform) -> None:
    """A second header must not bypass the networks of an API key."""
    headers = Call.headers_of([("x-forwarded-for", "10.0.0.1"), ("x-forwarded-for", "203.0.113.9")])
    assert Call("m", headers, "r").address == ""


def test_answer_headers_are_sent_with_answers_but_not_with_errors(platform: Platform) -> None:
    process = ServiceProcess({DIRECTORY: AnswerHeaders()}, platform.process.verifier, platform.access)
    metadata = platform.identities.service_headers("pixel-service")
    with running(process) as server, stub_channel(server) as channel:
        look_up = campaign_pb2_grpc.CampaignDirectoryServiceStub(channel).LookUpCampaign

        def headers_of(campaign_id: UUID) -> tuple[str, dict[str, str]]:
            request = campaign_pb2.LookUpCampaignRequest(organization_id=str(uuid4()), campaign_id=str(campaign_id))
            _, call = look_up.with_call(request, metadata=metadata)
            return call.code().name, dict(call.initial_metadata())

        assert headers_of(uuid4()) == ("OK", {"cache-control": "no-store"})
        with pytest.raises(grpc.RpcError) as refused:
            headers_of(UUID(int=0))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert not refused.value.initial_metadata()


def test_number_of_reported_violations_is_limited(platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    request = pb.CreatePixelRequest(campaign_id=str(uuid4()), name="home", goals=["Not OK"] * 1_500)
    code, info, bad, _ = refused(pixels.CreatePixel, request, metadata=platform.headers())
    assert (code, info.reason, len(bad.field_violations)) == ("INVALID_ARGUMENT", "INVALID_FIELD", 20)


def test_large_invalid_request_is_refused_as_fast_as_a_small_one() -> None:
    request = CreateApiKeyRequest(name="x", permissions=[1] * 500_000)
    refuse = interceptors.validated(lambda request, _call: request)
    started = time.process_time()
    with pytest.raises(InvalidArgument) as refused:
        refuse(request, Call("", {}, ""))
    assert time.process_time() - started < 3
    assert len(refused.value.violations) == 1


def test_error_has_its_reason_and_metadata(platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    wanted = str(uuid4())
    code, info, _, _ = refused(pixels.GetPixel, pb.GetPixelRequest(pixel_id=wanted), metadata=platform.headers())
    assert (code, info.reason, info.domain) == ("NOT_FOUND", "PIXEL_NOT_FOUND", "adplatform")
    assert info.metadata == {"pixelId": wanted}


def nested(levels: int) -> bytes:
    """A request with an unknown field of nested groups."""
    return GOOD.SerializeToString() + b"\x7b" * levels + b"\x7c" * levels


@pytest.mark.parametrize(
    "body", [nested(120), b"\xff", GOOD.SerializeToString()[:-1]], ids=["too deep", "no message", "cut"]
)
def test_unreadable_request_is_an_invalid_argument(platform: Platform, channel: grpc.Channel, body: bytes) -> None:
    call = channel.unary_unary("/adplatform.pixel.v1.PixelService/CreatePixel")
    labels = {"method": "adplatform.pixel.v1.PixelService.CreatePixel", "code": "INVALID_ARGUMENT"}

    def counted() -> float:
        return REGISTRY.get_sample_value("rpc_server_seconds_count", labels) or 0

    assert call(nested(50), metadata=platform.headers())
    before = counted()
    for headers in (platform.headers(), None):
        code, info, _, message = refused(call, body, metadata=headers)
        assert (code, info.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
        assert message == "the request is nested too deeply, or is not a message of this method"
    assert counted() == before + 2


def test_unexpected_exception_reveals_no_details(platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    code, info, _, message = refused(pixels.ListPixels, pb.ListPixelsRequest(), metadata=platform.headers())
    assert (code, info.reason, message) == ("INTERNAL", "INTERNAL", "internal error")


def test_server_does_not_start_without_an_auth_option(platform: Platform) -> None:
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="open.proto", package="open", syntax="proto3")
    file.message_type.add(name="M")
    file.service.add(name="Open").method.add(name="Do", input_type=".open.M", output_type=".open.M")
    pool.Add(file)
    process = ServiceProcess(
        {pool.FindServiceByName("open.Open"): object()}, platform.process.verifier, platform.access
    )
    with pytest.raises(ContractError, match=r"open\.Open\.Do needs the option"):
        Server(process, Settings(service="test", ports=[0]), 0)


def test_server_does_not_start_with_an_incomplete_servicer(platform: Platform) -> None:
    process = ServiceProcess({PIXELS: Directory()}, platform.process.verifier, platform.access)
    with pytest.raises(ContractError, match="Directory does not implement"):
        Server(process, Settings(service="test", ports=[0]), 0)
