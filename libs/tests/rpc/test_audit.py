"""What is recorded of a call: who, for whom, what, what came of it, and nothing else of what was sent."""

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
    """Makes one pixel, and finds none."""

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
    """Signs in whom it knows."""

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
    """Holds what it is asked to."""

    def __getattr__(self, name: str) -> object:
        return self.HoldBudget

    def HoldBudget(self, _request: payment_pb2.HoldBudgetRequest, _call: Call) -> payment_pb2.HoldBudgetResponse:
        return payment_pb2.HoldBudgetResponse()


class World:
    """A running server, and people and services that call it."""

    def __init__(self) -> None:
        self.identities = Identities()
        for name in ("campaign-service", "pixel-service"):
            self.identities.service(name)
        self.access = FakeAccess()
        self.person, self.organization = self.identities.person(), uuid4()
        self.access.grant(self.person, self.organization, 1, Permission.CAMPAIGNS_UPDATE)
        self.trail = FakeAuditTrail()
        self.worker = ServiceProcess(
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
def world() -> World:
    return World()


@pytest.fixture
def channel(world: World) -> Iterator[grpc.Channel]:
    with running(world.worker) as server, stub_channel(server) as channel:
        yield channel


@pytest.fixture
def pixels(channel: grpc.Channel) -> pixel_pb2_grpc.PixelServiceStub:
    return pixel_pb2_grpc.PixelServiceStub(channel)


@pytest.fixture
def auth(channel: grpc.Channel) -> auth_pb2_grpc.AuthServiceStub:
    return auth_pb2_grpc.AuthServiceStub(channel)


CREATE = pb.CreatePixelRequest(campaign_id=str(uuid4()), name=SECRET)
NO_ACCESS = UUID(int=0)


def test_a_change_is_recorded_with_who_what_and_where(world: World, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    pixels.CreatePixel(CREATE, metadata=world.headers(x_request_id="r-1", x_forwarded_for="192.0.2.7"))
    event = world.only()
    assert (event.organization_id, event.request_id) == (str(world.organization), "r-1")
    assert UUID(event.id).version == 7
    assert event.audit_recorded == AuditRecorded(
        actor=AuditRecorded.PERSON,
        user_id=str(world.person.user_id),
        action="pixel.CreatePixel",
        resource=f"pixels/{MADE}",
        outcome="OK",
        address="192.0.2.7",
    )


def test_reads_are_not_recorded(world: World, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    with pytest.raises(grpc.RpcError):
        pixels.ListPixels(pb.ListPixelsRequest(), metadata=world.headers())
    assert world.trail.events == []


def test_a_refusal_is_recorded_with_its_reason(world: World, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    wanted = str(uuid4())
    with pytest.raises(grpc.RpcError):
        pixels.DeletePixel(pb.DeletePixelRequest(pixel_id=wanted), metadata=world.headers())
    record = world.only().audit_recorded
    assert (record.resource, record.outcome, record.reason) == (f"pixels/{wanted}", "NOT_FOUND", "PIXEL_NOT_FOUND")


def test_who_was_not_allowed_is_recorded(world: World, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    reader, stranger = world.identities.person(), world.identities.person()
    world.access.grant(reader, world.organization, 1, Permission.CAMPAIGNS_READ)
    for person in (reader, stranger):
        with pytest.raises(grpc.RpcError):
            pixels.CreatePixel(CREATE, metadata=world.identities.headers(person, world.organization))
    with pytest.raises(grpc.RpcError):
        pixels.CreatePixel(CREATE, metadata=world.identities.service_headers("pixel-service"))
    seen = [
        (event.organization_id, one.user_id, one.service, one.outcome, one.reason)
        for event in world.trail.events
        for one in [event.audit_recorded]
    ]
    denied = "PERMISSION_DENIED"
    assert seen == [
        (str(world.organization), str(reader.user_id), "", denied, "PERMISSION_MISSING"),
        # What a stranger tries is not for the organization's log.
        (str(NO_ACCESS), str(stranger.user_id), "", denied, "NOT_A_MEMBER"),
        (str(NO_ACCESS), "", "pixel-service", denied, "SERVICE_NOT_ALLOWED"),
    ]


def test_calls_of_nobody_are_not_recorded(world: World, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    ended = world.identities.person()
    world.access.end_session(ended)
    cases = (None, [("authorization", "Bearer a.b.c")], world.identities.headers(ended, world.organization))
    for metadata in cases:
        with pytest.raises(grpc.RpcError):
            pixels.CreatePixel(CREATE, metadata=metadata)
    assert world.trail.events == []


def test_a_fault_of_ours_is_recorded(world: World, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    with pytest.raises(grpc.RpcError):
        pixels.CreatePixel(pb.CreatePixelRequest(campaign_id=str(uuid4()), name="fault"), metadata=world.headers())
    record = world.only().audit_recorded
    assert (record.resource, record.outcome, record.reason) == ("pixels", "INTERNAL", "INTERNAL")


def test_an_invalid_request_leaves_nothing_of_itself(world: World, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    with pytest.raises(grpc.RpcError):
        pixels.DeletePixel(pb.DeletePixelRequest(pixel_id=f"{SECRET}/x"), metadata=world.headers())
    record = world.only().audit_recorded
    assert (record.resource, record.outcome) == ("pixels/{pixel_id}", "INVALID_ARGUMENT")


def test_a_sign_in_names_who_it_was_and_no_secret(world: World, auth: auth_pb2_grpc.AuthServiceStub) -> None:
    auth.LogIn(auth_pb2.LogInRequest(email="ada@example.com", password=SECRET))
    with pytest.raises(grpc.RpcError):
        auth.LogIn(auth_pb2.LogInRequest(email="nobody@example.com", password=SECRET))
    known, unknown = (event.audit_recorded for event in world.trail.events)
    assert (known.actor, known.user_id) == (AuditRecorded.PERSON, str(MADE))
    assert known.resource == f"auth/login/{MADE}"
    assert (unknown.actor, unknown.user_id, unknown.resource) == (AuditRecorded.ANYONE, "", "auth/login")
    for event in world.trail.events:
        for text in (SECRET, "example.com"):
            assert text.encode() not in event.SerializeToString()


@pytest.mark.parametrize("who", ["many", "stranger", "outage"])
def test_a_flood_is_not_recorded(world: World, auth: auth_pb2_grpc.AuthServiceStub, who: str) -> None:
    """Neither what a limit refuses, nor what strangers can fail at without one, nor what nothing was tried in."""
    with pytest.raises(grpc.RpcError):
        auth.LogIn(auth_pb2.LogInRequest(email=f"{who}@example.com", password=SECRET))
    assert world.trail.events == []


def test_a_service_acts_for_the_organization_it_names(world: World, channel: grpc.Channel) -> None:
    campaign = str(uuid4())
    request = payment_pb2.HoldBudgetRequest(
        organization_id=str(world.organization),
        campaign_id=campaign,
        amount_micros=1,
        currency_code="USD",
        idempotency_key="k",
    )
    ledger = payment_pb2_grpc.LedgerServiceStub(channel)
    ledger.HoldBudget(request, metadata=world.identities.service_headers("campaign-service"))
    event, record = world.only(), world.only().audit_recorded
    assert event.organization_id == str(world.organization)
    assert (record.actor, record.service) == (AuditRecorded.SERVICE, "campaign-service")
    assert (record.action, record.resource) == ("payment.HoldBudget", f"campaigns/{campaign}")


def test_what_came_to_be_is_named_once() -> None:
    organizations = organizations_pb2.DESCRIPTOR.services_by_name["OrganizationService"]
    update = Resource.of(organizations.methods_by_name["UpdateOrganization"])
    signs_up = Resource.of(AUTH.methods_by_name["SignUp"])
    id = str(uuid4())
    asked = organizations_pb2.UpdateOrganizationRequest(organization_id=id)
    assert update(asked, auth_pb2.Organization(id=id)) == f"organizations/{id}"
    two = auth_pb2.SignUpResponse(user=auth_pb2.User(id=id), organization=auth_pb2.Organization(id=id))
    assert signs_up(auth_pb2.SignUpRequest(email="a@example.com"), two) == "auth/signup"


def test_a_server_that_changes_things_needs_an_audit_trail(world: World) -> None:
    worker = ServiceProcess({PIXELS: Pixels()}, world.worker.verifier, world.access)
    with pytest.raises(ContractError, match=r"CreatePixel changes state: the process needs an audit trail"):
        Server(worker, Settings(service="test", ports=[0]), 0)


def test_an_api_key_is_recorded_with_who_made_it(world: World, pixels: pixel_pb2_grpc.PixelServiceStub) -> None:
    scopes = mask([Permission.CAMPAIGNS_UPDATE])
    key = ApiKey(uuid4(), world.person.user_id, world.organization, scopes)
    elsewhere = replace(key, id=uuid4(), networks=(ip_network("203.0.113.0/24"),))
    texts = [api_key_format.generate() for _ in range(3)]
    world.access.add_api_key(texts[0], key)
    world.access.add_api_key(texts[1], elsewhere)
    pixels.CreatePixel(CREATE, metadata=[("x-api-key", texts[0])])
    for text in texts[1:]:
        with pytest.raises(grpc.RpcError):
            pixels.CreatePixel(CREATE, metadata=[("x-api-key", text)])
    seen = [(event.organization_id, event.audit_recorded) for event in world.trail.events]
    assert [(organization, one.actor, one.api_key_id, one.user_id, one.outcome) for organization, one in seen] == [
        (str(world.organization), AuditRecorded.API_KEY, str(each.id), str(world.person.user_id), outcome)
        for each, outcome in ((key, "OK"), (elsewhere, "PERMISSION_DENIED"))
    ]
