"""From events on the bus to GetCampaignAnalytics, through the stub."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.analytics.v1 import analytics_pb2 as pb
from adplatform.analytics.v1 import analytics_pb2_grpc
from adplatform.campaign.v1.campaign_pb2 import TRAFFIC_ENGINE
from adplatform.events.v1.events_pb2 import CampaignChanged, Event, SpendPosted, TrackingEvent
from adplatform.options.v1.options_pb2 import Permission
from google.protobuf.timestamp_pb2 import Timestamp

from adlib.bus import Bus, RedisBus
from adlib.clock import FixedClock, timestamp
from adlib.ids import new_id
from adlib.service import Authorization, Dependencies, connect_redis
from adtesting import FakeAccess, Identities, eventually, running, stub_channel
from adtesting.analytics import FakeCampaigns
from analytics_service.__main__ import build
from analytics_service.warehouse.duckdb.client import DuckDbFile

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class Service:
    """A running service, its bus, and the headers of a member with ANALYTICS_READ."""

    stub: analytics_pb2_grpc.AnalyticsServiceStub
    bus: Bus
    organization: UUID
    campaign: UUID
    headers: list[tuple[str, str]]

    def tracking_event(self, type: "TrackingEvent.Type.ValueType", at: datetime = NOW - timedelta(hours=1)) -> bytes:
        event = TrackingEvent(
            id=str(new_id()), type=type, organization_id=str(self.organization), campaign_id=str(self.campaign),
            visitor_id="v",
        )  # fmt: skip
        event.time.CopyFrom(timestamp(at))
        return event.SerializeToString()

    def report(self, **fields: object) -> pb.CampaignAnalytics:
        request = pb.GetCampaignAnalyticsRequest(campaign_id=str(self.campaign), **fields)
        return self.stub.GetCampaignAnalytics(request, metadata=self.headers)


@pytest.fixture
def service(redis_url: str, tmp_path: Path) -> Iterator[Service]:
    identities, access, campaigns = Identities(), FakeAccess(), FakeCampaigns()
    person, organization, campaign = identities.person(), uuid4(), uuid4()
    access.grant(person, organization, 1, Permission.ANALYTICS_READ)
    campaigns.add(organization, campaign)
    file = DuckDbFile(tmp_path / "warehouse.duckdb")
    with connect_redis(redis_url) as shared:
        bus = RedisBus(shared)
        own = Dependencies(
            authorization=Authorization(identities.verifier(), access), bus=bus, clock=FixedClock(NOW), bus_wait_ms=20
        )
        with running(build(own, campaigns, file)) as server, stub_channel(server) as channel:
            stub = analytics_pb2_grpc.AnalyticsServiceStub(channel)
            yield Service(stub, bus, organization, campaign, identities.headers(person, organization))
    file.close()


def test_redelivered_events_are_reported_exactly_once(service: Service) -> None:
    impressions = [service.tracking_event(TrackingEvent.IMPRESSION) for _ in range(200)]
    clicks = [service.tracking_event(TrackingEvent.CLICK) for _ in range(10)]
    spend = SpendPosted(
        campaign_id=str(service.campaign), network=TRAFFIC_ENGINE, day="2026-11-22", amount_micros=1_000_000,
        currency_code="USD",
    )  # fmt: skip
    posted = Event(id=str(new_id()), organization_id=str(service.organization), spend_posted=spend)
    posted.time.CopyFrom(timestamp(NOW - timedelta(hours=1)))
    changed = Event(id=str(new_id()), organization_id=str(service.organization), campaign_changed=CampaignChanged())
    for _ in range(2):
        service.bus.publish("events", impressions + clicks)
        service.bus.publish("campaign", [posted.SerializeToString(), changed.SerializeToString()])
    # Consumed after all the others.
    last = service.tracking_event(TrackingEvent.CONVERSION)
    service.bus.publish("events", [last])
    eventually(lambda: service.report().totals.conversions == 1)
    eventually(lambda: service.report().totals.spend_micros == 1_000_000)
    totals = service.report().totals
    assert (totals.impressions, totals.clicks, totals.unique_users) == (200, 10, 1)
    assert (totals.ctr, totals.cpm_micros, totals.cpc_micros) == (0.05, 5_000_000, 100_000)


def test_series_has_an_interval_for_every_day(service: Service) -> None:
    service.bus.publish("events", [service.tracking_event(TrackingEvent.IMPRESSION, NOW - timedelta(days=2))])
    eventually(lambda: service.report().totals.impressions == 1)
    report = service.report(
        start_time=timestamp(NOW - timedelta(days=3)), end_time=timestamp(NOW), time_zone="Europe/Warsaw"
    )
    starts = [point.start_time.ToDatetime() for point in report.series]
    assert [at.isoformat() for at in starts] == [
        "2026-11-19T12:00:00", "2026-11-19T23:00:00", "2026-11-20T23:00:00", "2026-11-21T23:00:00",
    ]  # fmt: skip
    assert [point.metrics.impressions for point in report.series] == [0, 1, 0, 0]


def test_campaign_of_another_organization_is_not_found(service: Service) -> None:
    service.campaign = uuid4()
    with pytest.raises(grpc.RpcError) as refused:
        service.report()
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("fields", [{"time_zone": "Mars/Olympus"}, {"start_time": timestamp(NOW + timedelta(days=1))}])
def test_invalid_request_is_refused(service: Service, fields: dict[str, object]) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        service.report(**fields)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("impossible", [Timestamp(seconds=10**18), Timestamp(seconds=5, nanos=-1)])
def test_impossible_timestamp_is_an_invalid_argument(service: Service, impossible: Timestamp) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        service.report(start_time=impossible)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
