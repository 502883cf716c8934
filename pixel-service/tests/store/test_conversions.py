"""A conversion is recorded once, also by concurrent calls."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from adplatform.events.v1.events_pb2 import TrackingEvent

from adlib.bus import RedisBus
from adlib.clock import SystemClock
from adlib.db import Database
from adlib.errors import InvalidField
from adlib.ids import new_id
from adlib.outbox import Outbox, Relay
from pixel_service.click_ids import Click, ClickIds
from pixel_service.conversions.model import NewConversion
from pixel_service.conversions.service import ConversionService
from pixel_service.pixels.model import Pixel
from pixel_service.pixels.store import find_any_tenant
from pixel_service.postback_keys import PostbackKeys

KEY = b"k" * 32
CLICK_IDS = ClickIds(KEY)


class Published:
    """The events that the relay has published."""

    def __init__(self, db: Database, bus: RedisBus, outbox: Outbox) -> None:
        self._relay = Relay(db, bus, outbox)
        self._events = bus.subscribe("events", "test", "test")

    def all(self) -> list[TrackingEvent]:
        while self._relay.publish_batch():
            pass
        return [TrackingEvent.FromString(one.payload) for one in self._events.receive(1000, 1)]


@pytest.fixture
def outbox() -> Outbox:
    return Outbox("events", SystemClock())


@pytest.fixture
def conversions(db: Database, outbox: Outbox) -> ConversionService:
    find = partial(find_any_tenant, db)
    return ConversionService(db, outbox, find, CLICK_IDS, PostbackKeys(KEY), SystemClock(), new_id)


@pytest.fixture
def published(db: Database, bus: RedisBus, outbox: Outbox) -> Published:
    return Published(db, bus, outbox)


@pytest.fixture
def pixel(add_pixel: Callable[..., Pixel]) -> Pixel:
    return add_pixel()


def of(pixel: Pixel, **fields: Any) -> NewConversion:
    given: dict[str, Any] = {"click": None, "goal": "conversion", "transaction_id": "", "value_micros": 5}
    return NewConversion(pixel=pixel, **{**given, **fields})


def click(pixel: Pixel) -> Click:
    return Click(new_id(), pixel.id, uuid4())


def test_concurrent_duplicates_are_recorded_once(
    conversions: ConversionService, published: Published, pixel: Pixel
) -> None:
    threads = 8
    new, together = of(pixel, transaction_id="order 1", click=click(pixel)), Barrier(threads)

    def record(_: int) -> tuple[bool, object]:
        together.wait()
        recorded = conversions.record(new)
        return recorded.is_duplicate, recorded.event_id

    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(record, range(threads)))
    assert sorted(duplicate for duplicate, _ in answers) == [False] + [True] * (threads - 1)
    assert len({event_id for _, event_id in answers}) == 1
    (event,) = published.all()
    assert event.id == str(answers[0][1])
    assert (event.type, event.value_micros, event.transaction_id) == (TrackingEvent.CONVERSION, 5, "order 1")


def test_conversions_differ_by_transaction_goal_and_click(conversions: ConversionService, pixel: Pixel) -> None:
    one, two = click(pixel), click(pixel)
    different = [
        of(pixel, transaction_id="1"),
        of(pixel, transaction_id="2"),
        of(pixel, transaction_id="1", goal="signup"),
        of(pixel, transaction_id="1", click=one),
        of(pixel, transaction_id="1", click=two),
        of(pixel, click=one),
        of(pixel, click=two),
        of(pixel, click=one, goal="signup"),
    ]
    first = [conversions.record(new) for new in different]
    again = [conversions.record(new) for new in different]
    assert not any(one.is_duplicate for one in first)
    assert all(one.is_duplicate for one in again)
    assert [one.event_id for one in first] == [one.event_id for one in again]


def test_every_conversion_without_click_and_transaction_counts(
    conversions: ConversionService, published: Published, pixel: Pixel
) -> None:
    assert not conversions.record(of(pixel)).is_duplicate
    assert not conversions.record(of(pixel)).is_duplicate
    assert len(published.all()) == 2


def test_equal_transaction_ids_of_two_organizations_are_different_conversions(
    conversions: ConversionService, pixel: Pixel, add_pixel: Callable[..., Pixel]
) -> None:
    assert not conversions.record(of(pixel, transaction_id="1")).is_duplicate
    assert not conversions.record(of(add_pixel(), transaction_id="1")).is_duplicate


def test_conversion_has_the_zone_of_its_click(
    conversions: ConversionService, published: Published, pixel: Pixel
) -> None:
    clicked = click(pixel)
    conversions.record(of(pixel, click=clicked))
    (event,) = published.all()
    assert event.zone_id == str(clicked.zone_id)
    assert event.click_id == CLICK_IDS.sign(clicked)


def test_click_of_another_campaign_is_refused(
    conversions: ConversionService, pixel: Pixel, add_pixel: Callable[..., Pixel]
) -> None:
    sibling = add_pixel(organization_id=pixel.organization_id, campaign_id=pixel.campaign_id)
    unrelated = add_pixel()
    clicked = click(sibling)
    assert conversions.click_for(pixel, CLICK_IDS.sign(clicked), "clickId") == clicked
    with pytest.raises(InvalidField, match="clickId is of another campaign's click"):
        conversions.click_for(unrelated, CLICK_IDS.sign(clicked), "clickId")
