"""Catching up on missed events resumes at the cursor, and parses only new events."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from adlib.db import Database
from adlib.errors import Unavailable
from payment_service.providers.model import ProviderEvent
from payment_service.webhooks import store
from payment_service.webhooks.service import WebhookService

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OVERLAP = timedelta(minutes=5)


class Clock:
    def now(self) -> datetime:
        return NOW


@dataclass
class Outside:
    """A provider with this many events, one per second, which stops answering after `answers` of them."""

    events: int
    answers: int = 10**9
    asked: list[datetime] = field(default_factory=list)
    reads: list[bytes] = field(default_factory=list)

    def parse(self, body: bytes) -> ProviderEvent:
        self.reads.append(body)
        return ProviderEvent(body.decode(), "x", [])

    def missed_events(self, since: datetime) -> Iterator[ProviderEvent]:
        self.asked.append(since)
        for number in range(self.events):
            if number >= self.answers:
                raise Unavailable("down")
            at = NOW - timedelta(hours=1) + timedelta(seconds=number)
            if at >= since:
                yield ProviderEvent(f"e{number:04}", "x", None, at, f"e{number:04}".encode())


@pytest.fixture
def name() -> str:
    return f"OUTSIDE-{uuid4()}"


def service(db: Database, name: str, source: Outside) -> WebhookService:
    return WebhookService(db, {name: source}, {name: source}, None, Clock())


@pytest.mark.parametrize("events", [0, 1, 99, 100, 101, 250])
def test_catch_up_records_each_event_once_and_resumes_at_the_cursor(db: Database, name: str, events: int) -> None:
    source = Outside(events)
    service(db, name, source).catch_up(name)
    assert len(source.reads) == len(set(source.reads)) == events
    assert store.known(db, name, [f"e{number:04}" for number in range(events)]) == {
        f"e{number:04}" for number in range(events)
    }
    service(db, name, source).catch_up(name)
    assert source.asked == [NOW - timedelta(days=1) - OVERLAP, NOW - OVERLAP]
    assert len(source.reads) == events


def test_catch_up_resumes_where_the_provider_stopped_answering(db: Database, name: str) -> None:
    source = Outside(450, answers=320)
    with pytest.raises(Unavailable):
        service(db, name, source).catch_up(name)
    assert len(source.reads) == 300
    source.answers = 450
    service(db, name, source).catch_up(name)
    reached = NOW - timedelta(hours=1) + timedelta(seconds=299)
    assert source.asked[1] == reached - OVERLAP
    assert sorted(source.reads) == [f"e{number:04}".encode() for number in range(450)]


def test_cursor_never_moves_back(db: Database, name: str) -> None:
    for until in (NOW, NOW - timedelta(hours=1)):
        with db.transaction() as tx:
            store.advance_cursor(tx, name, until)
    assert store.cursor(db, name) == NOW
