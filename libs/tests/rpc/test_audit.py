"""The audit record of a call: actor, organization, action, resource and outcome, and no other part of the request."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.auth.v1 import auth_pb2, auth_pb2_grpc, organizations_pb2
from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.events.v1.events_pb2 import AuditRecorded, Event
from adplatform.options.v1.options_pb2 import Permission
from adplatform.payment.v1 import payment_pb2, payment_pb2_grpc
from adplatform.pixel.v1 import pixel_pb2 as pb
from adplatform.pixel.v1 import pixel_pb2_grpc

from adlib import api_key_format
from adlib.errors import AppError, NotFound, Unauthenticated, Unavailable
from adlib.identity import ApiKey
from adlib.permissions import mask
from adlib.rpc import Call, Server, ServiceProcess, Settings
from adlib.rpc.audit import Resource
from adlib.rpc.contract import ContractError
from adtesting import FakeAccess, FakeAuditTrail, Identities, running, stub_channel

PIXELS = pb.DESCRIPTOR.services_by_name["PixelService"]
LEDGER = payment_pb2.DESCRIPTOR.services_by_name["LedgerService"]
AUTH = auth_pb2.DESCRIPTOR.services_by_name["AuthService"]
MADE, SECRET = uuid4(), "correct horse battery"


class PixelNotFound(NotFound):
    reason = ErrorReason.PIXEL_NOT_FOUND


class TooMany(AppError):
    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Pixels:
    """Creates one pixel, and finds none."""

    def CreatePixel(self, request: pb.CreatePixelRequest, _call: Call) -> pb.Pixel:
        if request.name == "fault":
            raise ZeroDivisionError
        return pb.Pixel(id=str(MADE), name=request.name)

    def DeletePixel(self, _request: pb.DeletePixelRequest, _call: Call) -> pb.DeletePixelResponse:
        raise PixelNotFound("there is no such pixel")

    def ListPixels(self, _request: pb.ListPixelsRequest, _call: Call) -> pb.ListPixelsResponse:
        return pb.ListPixelsResponse()

    GetPixel = ListPixels


class Auth:
    """Signs in one known person."""

    def __getattr__(self, name: str) -> object:
        return self.LogIn

    def LogIn(self, request: auth_pb2.LogInRequest, call: Call) -> auth_pb2.LogInResponse:
        if request.email.startswith("many"):
            raise TooMany("too many")
        call.is_rate_limited = not request.email.startswith("stranger")
        if request.email.startswith("outage"):
            raise Unavailable("down")
        if request.email.startswith(("nobody", "stranger")):
            raise Unauthenticated("wrong")
        call.attribute_to(MADE)
        return auth_pb2.LogInResponse(user=auth_pb2.User(id=str(MADE)), access_token=SECRET, refresh_token=SECRET)


class Ledger:
    """Accepts every hold."""

    def __getattr__(self, name: str) -> object:
        return self.HoldBudget

    def HoldBudget(self, _request: payment_pb2.HoldBudgetRequest, _call: Call) -> payment_pb2.HoldBudgetResponse:
        return payment_pb2.HoldBudgetResponse()


class Platform:
    """A running server, and its callers."""

    def __init__(self) -> None:
        self.identities = Identities()
        for name in ("campaign-service", "pixel-service"):
            self.identities.service(name)
        self.access = FakeAccess()
        self.person, self.organization = self.identities.person(), uuid4()
        self.access.grant(self.person, self.organization, 1, Permission.CAMPAIGNS_UPDATE)
        self.trail = FakeAuditTrail()
        self.process = ServiceProcess(
            {PIXELS: Pixels(), AUTH: Auth(), LEDGER: Ledger()},
            self.identities.verifier(),
            self.access,
            self.trail,
        )

    def headers(self, **more: str) -> list[tuple[str, str]]:
        return self.identities.headers(self.person, self.organization, **more)

    def only(self) -> Event:
        (event,) = self.trail.events
        return event


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


@pytest.fixture
def auth(channel: grpc.Channel) -> auth_pb2_grpc.AuthServiceStub:
    return auth_pb2_grpc.AuthServiceStub(channel)


CREATE = pb.CreatePixelRequest(campaign_id=str(uuid4()), name=SECRET)
NO_ACCESS = UUID(int=0)


def test_change_is_recorded_with_actor_action_resource_and_address(
    platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub
) -> None:
    pixels.CreatePixel(CREATE, metadata=platform.headers(x_request_id="r-1", x_forwarded_for="192.0.2.7"))
    event = platform.only()
    assert (event.organization_id, event.request_id) == (str(platform.organization), "r-1")
    assert UUID(event.id).version == 7
    assert event.audit_recorded == AuditRecorded(
        actor=AuditRecorded.PERSON,
        user_id=str(platform.person.user_id),
        action="pixel.CreatePixel",
        resource=f"pixels/{MADE}",
        outcome="OK",
        address="192.0.2.7",
    )


def test_reads_are_not_recorded(platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    with pytest.raises(grpc.RpcError):
        pixels.ListPixels(pb.ListPixelsRequest(), metadata=platform.headers())
    assert platform.trail.events == []


def test_refused_call_is_recorded_with_its_reason(platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    wanted = str(uuid4())
    with pytest.raises(grpc.RpcError):
        pixels.DeletePixel(pb.DeletePixelRequest(pixel_id=wanted), metadata=platform.headers())
    record = platform.only().audit_recorded
    assert (record.resource, record.outcome, record.reason) == (f"pixels/{wanted}", "NOT_FOUND", "PIXEL_NOT_FOUND")


def test_call_without_permission_is_recorded_with_its_actor(
    platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub
) -> None:
    reader, stranger = platform.identities.person(), platform.identities.person()
    platform.access.grant(reader, platform.organization, 1, Permission.CAMPAIGNS_READ)
    for person in (reader, stranger):
        with pytest.raises(grpc.RpcError):
            pixels.CreatePixel(CREATE, metadata=platform.identities.headers(person, platform.organization))
    with pytest.raises(grpc.RpcError):
        pixels.CreatePixel(CREATE, metadata=platform.identities.service_headers("pixel-service"))
    seen = [
        (event.organization_id, one.user_id, one.service, one.outcome, one.reason)
        for event in platform.trail.events
        for one in [event.audit_recorded]
    ]
    denied = "PERMISSION_DENIED"
    assert seen == [
        (str(platform.organization), str(reader.user_id), "", denied, "PERMISSION_MISSING"),
        # A call by a stranger does not belong in the organization's log.
        (str(NO_ACCESS), str(stranger.user_id), "", denied, "NOT_A_MEMBER"),
        (str(NO_ACCESS), "", "pixel-service", denied, "SERVICE_NOT_ALLOWED"),
    ]


def test_unauthenticated_calls_are_not_recorded(platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    ended = platform.identities.person()
    platform.access.end_session(ended)
    cases = (None, [("authorization", "Bearer a.b.c")], platform.identities.headers(ended, platform.organization))
    for metadata in cases:
        with pytest.raises(grpc.RpcError):
            pixels.CreatePixel(CREATE, metadata=metadata)
    assert platform.trail.events == []


def test_internal_error_is_recorded(platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    with pytest.raises(grpc.RpcError):
        pixels.CreatePixel(pb.CreatePixelRequest(campaign_id=str(uuid4()), name="fault"), metadata=platform.headers())
    record = platform.only().audit_recorded
    assert (record.resource, record.outcome, record.reason) == ("pixels", "INTERNAL", "INTERNAL")


def test_record_of_an_invalid_request_contains_none_of_its_text(
    platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub
) -> None:
    with pytest.raises(grpc.RpcError):
        pixels.DeletePixel(pb.DeletePixelRequest(pixel_id=f"{SECRET}/x"), metadata=platform.headers())
    record = platform.only().audit_recorded
    assert (record.resource, record.outcome) == ("pixels/{pixel_id}", "INVALID_ARGUMENT")


def test_sign_in_is_recorded_with_the_person_and_without_secrets(
    platform: Platform, auth: auth_pb2_grpc.AuthServiceStub
) -> None:
    auth.LogIn(auth_pb2.LogInRequest(email="ada@example.com", password=SECRET))
    with pytest.raises(grpc.RpcError):
        auth.LogIn(auth_pb2.LogInRequest(email="nobody@example.com", password=SECRET))
    known, unknown = (event.audit_recorded for event in platform.trail.events)
    assert (known.actor, known.user_id) == (AuditRecorded.PERSON, str(MADE))
    assert known.resource == f"auth/login/{MADE}"
    assert (unknown.actor, unknown.user_id, unknown.resource) == (AuditRecorded.ANYONE, "", "auth/login")
    for event in platform.trail.events:
        for text in (SECRET, "example.com"):
            assert text.encode() not in event.SerializeToString()


@pytest.mark.parametrize("who", ["many", "stranger", "outage"])
def test_flood_of_refused_calls_is_not_recorded(
    platform: Platform, auth: auth_pb2_grpc.AuthServiceStub, who: str
) -> None:
    """Rate-limited calls, failed calls of strangers without a rate limit, and calls refused before their execution."""
    with pytest.raises(grpc.RpcError):
        auth.LogIn(auth_pb2.LogInRequest(email=f"{who}@example.com", password=SECRET))
    assert platform.trail.events == []


def test_services_call_is_recorded_for_the_organization_in_the_request(
    platform: Platform, channel: grpc.Channel
) -> None:
    campaign = str(uuid4())
    request = payment_pb2.HoldBudgetRequest(
        organization_id=str(platform.organization),
        campaign_id=campaign,
        amount_micros=1,
        currency_code="USD",
        idempotency_key="k",
    )
    ledger = payment_pb2_grpc.LedgerServiceStub(channel)
    ledger.HoldBudget(request, metadata=platform.identities.service_headers("campaign-service"))
    event, record = platform.only(), platform.only().audit_recorded
    assert event.organization_id == str(platform.organization)
    assert (record.actor, record.service) == (AuditRecorded.SERVICE, "campaign-service")
    assert (record.action, record.resource) == ("payment.HoldBudget", f"campaigns/{campaign}")


def test_created_resource_is_named_once() -> None:
    organizations = organizations_pb2.DESCRIPTOR.services_by_name["OrganizationService"]
    update = Resource.of(organizations.methods_by_name["UpdateOrganization"])
    signs_up = Resource.of(AUTH.methods_by_name["SignUp"])
    id = str(uuid4())
    asked = organizations_pb2.UpdateOrganizationRequest(organization_id=id)
    assert update(asked, auth_pb2.Organization(id=id)) == f"organizations/{id}"
    two = auth_pb2.SignUpResponse(user=auth_pb2.User(id=id), organization=auth_pb2.Organization(id=id))
    assert signs_up(auth_pb2.SignUpRequest(email="a@example.com"), two) == "auth/signup"


def test_server_with_mutating_methods_needs_an_audit_trail(platform: Platform) -> None:
    process = ServiceProcess({PIXELS: Pixels()}, platform.process.verifier, platform.access)
    with pytest.raises(ContractError, match=r"CreatePixel changes state: the process needs an audit trail"):
        Server(process, Settings(service="test", ports=[0]), 0)


def test_api_key_is_recorded_with_its_creator(platform: Platform, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    scopes = mask([Permission.CAMPAIGNS_UPDATE])
    key = ApiKey(uuid4(), platform.person.user_id, platform.organization, scopes)
    elsewhere = replace(key, id=uuid4(), networks=(ip_network("203.0.113.0/24"),))
    texts = [api_key_format.generate() for _ in range(3)]
    platform.access.add_api_key(texts[0], key)
    platform.access.add_api_key(texts[1], elsewhere)
    pixels.CreatePixel(CREATE, metadata=[("x-api-key", texts[0])])
    for text in texts[1:]:
        with pytest.raises(grpc.RpcError):
            pixels.CreatePixel(CREATE, metadata=[("x-api-key", text)])
    seen = [(event.organization_id, event.audit_recorded) for event in platform.trail.events]
    assert [(organization, one.actor, one.api_key_id, one.user_id, one.outcome) for organization, one in seen] == [
        (str(platform.organization), AuditRecorded.API_KEY, str(each.id), str(platform.person.user_id), outcome)
        for each, outcome in ((key, "OK"), (elsewhere, "PERMISSION_DENIED"))
    ]
