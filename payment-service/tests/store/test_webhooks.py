"""What webhooks missed is asked for from where the last time ended, and read only where it is new."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from adlib.db import Database
from adlib.errors import Unavailable
from payment_service.providers.protocol import Event
from payment_service.webhooks import store
from payment_service.webhooks.service import WebhookService

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OVERLAP = timedelta(minutes=5)


class Clock:
    def now(self) -> datetime:
        return NOW


@dataclass
class Outside:
    """A provider with so many events, one a second, which may stop answering after some of them."""

    events: int
    answers: int = 10**9
    asked: list[datetime] = field(default_factory=list)
    reads: list[bytes] = field(default_factory=list)

    def read(self, body: bytes) -> Event:
        self.reads.append(body)
        return Event(body.decode(), "x", [])

    def missed(self, since: datetime) -> Iterator[Event]:
        self.asked.append(since)
        for number in range(self.events):
            if number >= self.answers:
                raise Unavailable("down")
            at = NOW - timedelta(hours=1) + timedelta(seconds=number)
            if at >= since:
                yield Event(f"e{number:04}", "x", None, at, f"e{number:04}".encode())


@pytest.fixture
def name() -> str:
    return f"OUTSIDE-{uuid4()}"


def service(db: Database, name: str, source: Outside) -> WebhookService:
    return WebhookService(db, {name: source}, None, None, None, None, Clock())


@pytest.mark.parametrize("events", [0, 1, 99, 100, 101, 250])
def test_all_is_taken_once_and_the_next_time_begins_where_this_one_did(db: Database, name: str, events: int) -> None:
    source = Outside(events)
    service(db, name, source).catch_up(name)
    assert len(source.reads) == len(set(source.reads)) == events
    assert store.known(db, name, [f"e{number:04}" for number in range(events)]) == {
        f"e{number:04}" for number in range(events)
    }
    service(db, name, source).catch_up(name)
    assert source.asked == [NOW - timedelta(days=1) - OVERLAP, NOW - OVERLAP]
    assert len(source.reads) == events


def test_what_was_reached_before_the_provider_went_away_is_not_asked_for_again(db: Database, name: str) -> None:
    source = Outside(450, answers=320)
    with pytest.raises(Unavailable):
        service(db, name, source).catch_up(name)
    assert len(source.reads) == 300
    source.answers = 450
    service(db, name, source).catch_up(name)
    reached = NOW - timedelta(hours=1) + timedelta(seconds=299)
    assert source.asked[1] == reached - OVERLAP
    assert sorted(source.reads) == [f"e{number:04}".encode() for number in range(450)]


def test_the_cursor_never_goes_back(db: Database, name: str) -> None:
    for until in (NOW, NOW - timedelta(hours=1)):
        with db.transaction() as tx:
            store.reached(tx, name, until)
    assert store.cursor(db, name) == NOW
