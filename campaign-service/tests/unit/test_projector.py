"""The live document of a campaign."""

from datetime import UTC, datetime, timedelta

import pytest
from adplatform.campaign.v1 import campaign_pb2 as pb
from adplatform.events.v1.events_pb2 import CampaignChanged, Event, SpendPosted
from google.protobuf.message import DecodeError

from adlib.clock import FixedClock, timestamp
from adtesting.documents import MemoryDocuments
from campaign_service.projection.projector import CampaignProjector

NOW = datetime(2030, 1, 15, 12, tzinfo=UTC)


def event(name: str, at: datetime, **figures: int) -> bytes:
    campaign = pb.Campaign(
        id="one",
        organization_id="acme",
        name=name,
        state=pb.Campaign.PAUSED,
        state_reasons=[pb.Campaign.USER],
        currency_code="USD",
        update_time=timestamp(at),
    )
    changed = CampaignChanged(campaign=campaign, figures=pb.DeliveryFigures(**figures))
    return Event(campaign_changed=changed).SerializeToString()


def test_the_document_is_the_latest_event_in_whatever_order_they_come() -> None:
    documents = MemoryDocuments()
    projector = CampaignProjector(documents)
    late = event("late", NOW + timedelta(microseconds=1), impressions=5, clicks=4, conversions=3, spent_micros=2)
    projector.handle([late, event("early", NOW), Event(spend_posted=SpendPosted()).SerializeToString(), late])
    assert documents.get("realtime_campaigns", "one") == {
        "id": "one",
        "organizationId": "acme",
        "name": "late",
        "state": "PAUSED",
        "stateReasons": ["USER"],
        "impressions": 5,
        "clicks": 4,
        "conversions": 3,
        "spentMicros": 2,
        "currencyCode": "USD",
        "updatedAt": "2030-01-15T12:00:00.000001Z",
    }


def test_a_deleted_campaigns_document_says_so_whatever_comes_late() -> None:
    documents = MemoryDocuments(FixedClock(NOW + timedelta(days=1)))
    projector = CampaignProjector(documents)
    told = Event.FromString(event("gone", NOW))
    told.campaign_changed.campaign.delete_time.CopyFrom(timestamp(NOW))
    projector.handle([told.SerializeToString(), event("earlier", NOW - timedelta(seconds=1))])
    assert documents.get("realtime_campaigns", "one")["deletedAt"] == "2030-01-15T12:00:00Z"
    month_later = MemoryDocuments(FixedClock(NOW + timedelta(days=31)))
    CampaignProjector(month_later).handle([told.SerializeToString()])
    assert month_later.get("realtime_campaigns", "one") is None


def test_what_is_no_event_is_left_for_the_dead_letters() -> None:
    with pytest.raises(DecodeError):
        CampaignProjector(MemoryDocuments()).handle([b"\xff"])
