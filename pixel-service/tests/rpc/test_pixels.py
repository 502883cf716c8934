"""PixelService through its stub, and the campaign consumer."""

from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.events.v1.events_pb2 import CampaignChanged, Event
from adplatform.options.v1.options_pb2 import Permission
from adplatform.pixel.v1 import pixel_pb2 as pb
from adplatform.pixel.v1 import pixel_pb2_grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adlib.bus import RedisBus
from adlib.clock import SystemClock
from adlib.db import Database
from adtesting import FakeAccess, Identities, eventually
from adtesting.pixel import FakeCampaigns
from pixel_service.clients.campaign import Campaign
from pixel_service.pixels import store

Metadata = list[tuple[str, str]]


@pytest.fixture
def pixels(channel: grpc.Channel) -> pixel_pb2_grpc.PixelServiceStub:
    return pixel_pb2_grpc.PixelServiceStub(channel)


@pytest.fixture
def campaign_id(campaigns: FakeCampaigns, organization_id: UUID) -> str:
    made = uuid4()
    campaigns.add(organization_id, made, Campaign("https://shop.example/", "EUR"))
    return str(made)


def member(identities: Identities, access: FakeAccess, organization_id: UUID) -> Metadata:
    person = identities.person()
    codes = (Permission.CAMPAIGNS_READ, Permission.CAMPAIGNS_UPDATE)
    access.grant(person, organization_id, Organization.ADVERTISER, *codes)
    return identities.headers(person, organization_id)


@pytest.fixture
def headers(identities: Identities, access: FakeAccess, organization_id: UUID) -> Metadata:
    return member(identities, access, organization_id)


def reason(error: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    info = ErrorInfo()
    details = rpc_status.from_call(error.value).details
    return info.reason if any(detail.Unpack(info) for detail in details) else ""


def test_created_pixel_has_snippets_for_pages_and_partners(
    pixels: pixel_pb2_grpc.PixelServiceStub, headers: Metadata, campaign_id: str
) -> None:
    made = pixels.CreatePixel(pb.CreatePixelRequest(campaign_id=campaign_id, name="Landing"), metadata=headers)
    assert list(made.goals) == ["conversion"]
    assert f"https://ads.example/track/pixel/{made.id}" in made.snippets.impression
    assert made.snippets.click_url == f"https://ads.example/track/click/{made.id}"
    assert f'"{made.id}"' in made.snippets.conversion
    assert "&key=" in made.snippets.postback_url
    assert pixels.GetPixel(pb.GetPixelRequest(pixel_id=made.id), metadata=headers) == made


def test_pixel_cannot_be_created_for_a_campaign_of_another_organization(
    pixels: pixel_pb2_grpc.PixelServiceStub, identities: Identities, access: FakeAccess, campaign_id: str
) -> None:
    stranger = member(identities, access, uuid4())
    with pytest.raises(grpc.RpcError) as refused:
        pixels.CreatePixel(pb.CreatePixelRequest(campaign_id=campaign_id, name="Landing"), metadata=stranger)
    assert reason(refused) == "CAMPAIGN_NOT_FOUND"


def test_pixel_of_another_organization_is_not_found(
    pixels: pixel_pb2_grpc.PixelServiceStub,
    headers: Metadata,
    identities: Identities,
    access: FakeAccess,
    campaign_id: str,
) -> None:
    made = pixels.CreatePixel(pb.CreatePixelRequest(campaign_id=campaign_id, name="Landing"), metadata=headers)
    stranger = member(identities, access, uuid4())
    for call, request in (
        (pixels.GetPixel, pb.GetPixelRequest(pixel_id=made.id)),
        (pixels.DeletePixel, pb.DeletePixelRequest(pixel_id=made.id)),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call(request, metadata=stranger)
        assert reason(refused) == "PIXEL_NOT_FOUND"
    assert not pixels.ListPixels(pb.ListPixelsRequest(), metadata=stranger).pixels
    assert pixels.GetPixel(pb.GetPixelRequest(pixel_id=made.id), metadata=headers) == made


def test_repeated_idempotency_key_creates_one_pixel(
    pixels: pixel_pb2_grpc.PixelServiceStub, headers: Metadata, campaign_id: str
) -> None:
    once = [*headers, ("idempotency-key", "k1")]
    request = pb.CreatePixelRequest(campaign_id=campaign_id, name="Landing", goals=["sale", "lead"])
    first = pixels.CreatePixel(request, metadata=once)
    assert pixels.CreatePixel(request, metadata=once) == first
    assert [one.id for one in pixels.ListPixels(pb.ListPixelsRequest(), metadata=headers).pixels] == [first.id]
    request.name = "Another"
    with pytest.raises(grpc.RpcError) as refused:
        pixels.CreatePixel(request, metadata=once)
    assert reason(refused) == "IDEMPOTENCY_KEY_REUSED"


def test_pixels_are_listed_newest_first_in_pages_and_by_campaign(
    pixels: pixel_pb2_grpc.PixelServiceStub,
    headers: Metadata,
    campaigns: FakeCampaigns,
    organization_id: UUID,
    campaign_id: str,
) -> None:
    other = uuid4()
    campaigns.add(organization_id, other, Campaign("https://shop.example/", "EUR"))
    made = [
        pixels.CreatePixel(pb.CreatePixelRequest(campaign_id=of, name=f"{n}"), metadata=headers).id
        for n, of in enumerate([campaign_id, str(other), campaign_id])
    ]
    first = pixels.ListPixels(pb.ListPixelsRequest(page_size=2), metadata=headers)
    rest = pixels.ListPixels(pb.ListPixelsRequest(page_size=2, page_token=first.next_page_token), metadata=headers)
    assert [one.id for one in (*first.pixels, *rest.pixels)] == made[::-1]
    assert not rest.next_page_token
    of_one = pixels.ListPixels(pb.ListPixelsRequest(campaign_id=campaign_id), metadata=headers)
    assert [one.id for one in of_one.pixels] == [made[2], made[0]]


def test_deleted_pixel_is_not_found(
    pixels: pixel_pb2_grpc.PixelServiceStub, headers: Metadata, campaign_id: str, db: Database
) -> None:
    made = pixels.CreatePixel(pb.CreatePixelRequest(campaign_id=campaign_id, name="Landing"), metadata=headers)
    pixels.DeletePixel(pb.DeletePixelRequest(pixel_id=made.id), metadata=headers)
    with pytest.raises(grpc.RpcError) as refused:
        pixels.GetPixel(pb.GetPixelRequest(pixel_id=made.id), metadata=headers)
    assert reason(refused) == "PIXEL_NOT_FOUND"
    assert store.find_any_tenant(db, UUID(made.id)) is None


def test_pixel_has_the_campaigns_newest_url_after_reordered_and_repeated_events(
    pixels: pixel_pb2_grpc.PixelServiceStub,
    headers: Metadata,
    campaign_id: str,
    organization_id: UUID,
    bus: RedisBus,
    db: Database,
) -> None:
    made = pixels.CreatePixel(pb.CreatePixelRequest(campaign_id=campaign_id, name="Landing"), metadata=headers)
    now = int(SystemClock().now().timestamp())

    def changed(url: str, at: int) -> bytes:
        event = Event(id=str(uuid4()), organization_id=str(organization_id), campaign_changed=CampaignChanged())
        campaign = event.campaign_changed.campaign
        campaign.id, campaign.organization_id, campaign.target_url = campaign_id, str(organization_id), url
        campaign.update_time.FromSeconds(at)
        return event.SerializeToString()

    # Out of order, then the newest one again.
    messages = [changed("https://new.example/", now), changed("https://old.example/", now - 60)]
    for message in (*messages, messages[0]):
        bus.publish("campaign", [message])
    bus.publish("campaign", [changed("https://newest.example/", now + 1)])

    def target() -> str:
        pixel = store.find_any_tenant(db, UUID(made.id))
        return pixel.target_url if pixel else ""

    assert eventually(lambda: target() == "https://newest.example/")
