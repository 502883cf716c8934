"""What webhooks missed is taken whatever one event is."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from adlib.clock import SystemClock
from adlib.db import Database
from adlib.errors import AppError, Unavailable
from payment_service.providers.model import ProviderRejected
from payment_service.providers.protocol import Event, Header
from payment_service.webhooks import store
from payment_service.webhooks.service import WebhookService


class Source:
    """Tells of three events, of which the second cannot be read."""

    def __init__(self, refusal: AppError) -> None:
        self.refusal: AppError | None = refusal
        began = datetime.now(UTC) - timedelta(hours=1)
        self.events = [Event(str(uuid4()), "x", None, began + timedelta(minutes=n), b"%d" % n) for n in range(3)]

    def event(self, _body: bytes, _header: Header) -> Event:
        raise NotImplementedError

    def read(self, body: bytes) -> Event:
        if body == b"1" and self.refusal:
            raise self.refusal
        return Event(self.events[int(body)].id, "x")

    def missed(self, _since: datetime) -> Iterable[Event]:
        return self.events


def service(db: Database, provider: str, source: Source) -> WebhookService:
    nobody: Any = None  # none of the events says anything
    return WebhookService(db, {provider: source}, nobody, nobody, nobody, nobody, SystemClock())


def test_an_event_that_cannot_be_read_keeps_no_later_one_from_being_taken(db: Database) -> None:
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


def test_a_provider_that_takes_all_the_time_there_is_gets_further_all_the_same(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Constants of the code, made small: whatever answers is too slow.
    monkeypatch.setattr("payment_service.webhooks.service._BUDGET_S", 0)
    monkeypatch.setattr("payment_service.webhooks.service._BATCH", 1)
    provider, source = uuid4().hex, Source(Unavailable("never asked"))
    service(db, provider, source).catch_up(provider)
    assert store.known(db, provider, [one.id for one in source.events]) == {source.events[0].id}
    assert store.cursor(db, provider) == source.events[0].at


def test_while_a_provider_does_not_answer_its_events_wait_for_the_next_look(db: Database) -> None:
    provider, source = uuid4().hex, Source(Unavailable("later"))
    webhooks = service(db, provider, source)
    with pytest.raises(Unavailable):
        webhooks.catch_up(provider)
    assert store.known(db, provider, [one.id for one in source.events]) == {source.events[0].id}
    assert store.cursor(db, provider) == source.events[0].at
