"""Catching up on missed events continues after one event or the provider has failed."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from adlib.clock import SystemClock
from adlib.db import Database
from adlib.errors import AppError, Unavailable
from payment_service.providers.model import ProviderEvent, ProviderRejected
from payment_service.providers.protocol import Header
from payment_service.webhooks import store
from payment_service.webhooks.service import WebhookService


class Source:
    """Lists three events, of which the second cannot be parsed."""

    def __init__(self, refusal: AppError) -> None:
        self.refusal: AppError | None = refusal
        began = datetime.now(UTC) - timedelta(hours=1)
        self.events = [
            ProviderEvent(str(uuid4()), "x", None, began + timedelta(minutes=n), b"%d" % n) for n in range(3)
        ]

    def verify(self, _body: bytes, _header: Header) -> None:
        raise NotImplementedError

    def parse(self, body: bytes) -> ProviderEvent:
        if body == b"1" and self.refusal:
            raise self.refusal
        return ProviderEvent(self.events[int(body)].id, "x")

    def missed_events(self, _since: datetime) -> Iterable[ProviderEvent]:
        return self.events


def service(db: Database, provider: str, source: Source) -> WebhookService:
    consumer: Any = None  # no event has updates
    return WebhookService(db, {provider: source}, {provider: source}, consumer, SystemClock())


def test_unparsable_event_does_not_block_later_events(db: Database) -> None:
    provider, source = uuid4().hex, Source(ProviderRejected("no such thing"))
    webhooks = service(db, provider, source)
    webhooks.catch_up(provider)
    assert store.known(db, provider, [one.id for one in source.events]) == {one.id for one in source.events}
    unread = [(provider, source.events[1].id)]
    assert webhooks.unbooked(10) == unread
    with pytest.raises(ProviderRejected):
        webhooks.book(*unread[0])
    source.refusal = None
    webhooks.book(*unread[0])
    assert webhooks.unbooked(10) == []


def test_slow_catch_up_makes_progress_in_each_run(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    # Makes every response too slow.
    monkeypatch.setattr("payment_service.webhooks.service._MAX_CATCH_UP_S", 0)
    monkeypatch.setattr("payment_service.webhooks.service._CATCH_UP_BATCH", 1)
    provider, source = uuid4().hex, Source(Unavailable("never asked"))
    service(db, provider, source).catch_up(provider)
    assert store.known(db, provider, [one.id for one in source.events]) == {source.events[0].id}
    assert store.cursor(db, provider) == source.events[0].at


def test_events_wait_for_the_next_catch_up_during_an_outage(db: Database) -> None:
    provider, source = uuid4().hex, Source(Unavailable("later"))
    webhooks = service(db, provider, source)
    with pytest.raises(Unavailable):
        webhooks.catch_up(provider)
    assert store.known(db, provider, [one.id for one in source.events]) == {source.events[0].id}
    assert store.cursor(db, provider) == source.events[0].at
