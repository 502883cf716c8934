"""The enricher publishes events and counts rejected requests."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from adplatform.events.v1.events_pb2 import CollectedRequest, TrackingEvent
from prometheus_client import REGISTRY
from sqlalchemy import select

from adlib.bus import Consumer, RedisBus
from adlib.clock import SystemClock
from adlib.db import Database, Query
from pixel_service.enricher.consumer import Enricher
from pixel_service.enricher.model import EventParser
from pixel_service.pixel_lookup.service import PixelLookup
from pixel_service.pixels.model import Pixel
from pixel_service.pixels.store import find_any_tenant
from pixel_service.tables import rejections
from pixel_service.visitor_ids import VisitorIds


@pytest.fixture
def enricher(db: Database, bus: RedisBus) -> Enricher:
    lookup = PixelLookup(partial(find_any_tenant, db))
    return Enricher(EventParser(lookup.get, VisitorIds(b"k" * 32)), bus, db, SystemClock())


@pytest.fixture
def pixel(add_pixel: Callable[..., Pixel]) -> Pixel:
    return add_pixel()


def collected(path: str, **fields: Any) -> bytes:
    request = CollectedRequest(id=str(uuid4()), path=path, **fields)
    request.time.GetCurrentTime()
    return request.SerializeToString()


def events(bus: RedisBus) -> list[TrackingEvent]:
    return [TrackingEvent.FromString(one.payload) for one in bus.subscribe("events", "t", "t").receive(1000, 1)]


def rejection_counts(db: Database) -> dict[str, int]:
    rows = db.all(Query(select(rejections.c.reason, rejections.c.count)))
    return {row.reason: row.count for row in rows}


def test_event_of_an_impression_does_not_contain_the_address(enricher: Enricher, bus: RedisBus, pixel: Pixel) -> None:
    zone = str(uuid4())
    message = collected(
        f"/track/pixel/{pixel.id}", query=f"event=impression&zone={zone}", remote_address="192.0.2.7",
        user_agent="Firefox", referrer="https://news.example/",
    )  # fmt: skip
    enricher.handle([message])
    (event,) = events(bus)
    request = CollectedRequest.FromString(message)
    assert (event.id, event.time, event.type) == (request.id, request.time, TrackingEvent.IMPRESSION)
    assert event.organization_id == str(pixel.organization_id)
    assert event.campaign_id == str(pixel.campaign_id)
    assert event.pixel_id == str(pixel.id)
    assert (event.zone_id, event.user_agent, event.referrer) == (zone, "Firefox", "https://news.example/")
    assert event.visitor_id
    assert b"192.0.2.7" not in event.SerializeToString()


def test_event_of_a_click_has_its_click_id(enricher: Enricher, bus: RedisBus, pixel: Pixel) -> None:
    enricher.handle([collected(f"/track/click/{pixel.id}", click_id="the click's")])
    (event,) = events(bus)
    assert (event.type, event.click_id) == (TrackingEvent.CLICK, "the click's")


def test_malformed_zone_is_dropped(enricher: Enricher, bus: RedisBus, pixel: Pixel) -> None:
    enricher.handle([collected(f"/track/pixel/{pixel.id}", query="zone=1'or'1")])
    assert events(bus)[0].zone_id == ""


def test_repeated_zone_is_dropped(enricher: Enricher, bus: RedisBus, pixel: Pixel) -> None:
    """The publisher of the impression is unknown."""
    enricher.handle([collected(f"/track/pixel/{pixel.id}", query=f"zone={uuid4()}&zone={uuid4()}")])
    assert events(bus)[0].zone_id == ""


def test_impression_with_a_repeated_event_parameter_is_rejected(
    enricher: Enricher, bus: RedisBus, db: Database, pixel: Pixel
) -> None:
    for query in ("event=impression&event=impression", "event=impression&event=other", "event=&e%76ent=impression"):
        enricher.handle([collected(f"/track/pixel/{pixel.id}", query=query)])
    assert events(bus) == []
    assert rejection_counts(db) == {"event_repeated": 3}


def test_rejected_requests_are_counted_by_reason(enricher: Enricher, bus: RedisBus, db: Database, pixel: Pixel) -> None:
    before = REGISTRY.get_sample_value("pixel_rejected_total", {"reason": "pixel_unknown"}) or 0
    batch = [
        collected("/track/pixel/nothing"),
        collected(f"/track/pixel/{uuid4()}"),
        collected(f"/track/pixel/{uuid4()}"),
        collected(f"/track/pixel/{pixel.id}", query="event=other"),
        b"\xff\xff",
        collected(f"/track/pixel/{pixel.id}"),
    ]
    enricher.handle(batch)
    enricher.handle(batch[1:2])
    assert len(events(bus)) == 1
    assert rejection_counts(db) == {
        "pixel_malformed": 1,
        "pixel_unknown": 3,
        "event_unknown": 1,
        "request_malformed": 1,
    }
    assert REGISTRY.get_sample_value("pixel_rejected_total", {"reason": "pixel_unknown"}) == before + 3


def test_requests_of_a_killed_consumer_are_redelivered_with_the_same_event_ids(
    enricher: Enricher, bus: RedisBus, pixel: Pixel
) -> None:
    bus.publish("collected", [collected(f"/track/pixel/{pixel.id}") for _ in range(50)])
    # This consumer handles a batch and is killed before it acknowledges.
    enricher.handle([one.payload for one in bus.subscribe("collected", "enricher", "dead").receive(20, 1)])
    living = Consumer(bus.subscribe("collected", "enricher", "living"), enricher.handle)
    done = 0
    while done < 50:
        done += living.run_once(wait_ms=50)
    found = events(bus)
    assert len(found) == 70
    assert len({event.id for event in found}) == 50
