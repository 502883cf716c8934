"""Impressions over HTTP: the response is always a GIF, and an impression answered with 200 is never lost."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import redis
from adplatform.events.v1.events_pb2 import CollectedRequest, TrackingEvent

from adctl.embedded.valkey import ValkeyServer
from adlib.bus import Consumer, RedisBus
from adlib.clock import SystemClock
from adlib.db import Database
from adtesting import eventually
from pixel_service.enricher.consumer import Enricher
from pixel_service.enricher.model import EventParser
from pixel_service.pixels.model import Pixel
from pixel_service.pixels.store import find_any_tenant
from pixel_service.visitor_ids import VisitorIds


def collected(shared: redis.Redis) -> list[CollectedRequest]:
    entries: Any = shared.xrange("bus:collected")
    return [CollectedRequest.FromString(fields[b"m"]) for _, fields in entries]


def is_gif(answer: httpx.Response) -> bool:
    return answer.headers["content-type"] == "image/gif" and len(answer.content) == 43


async def send_concurrently(tracking: Any, path: str, queries: list[str]) -> dict[str, int]:
    """Sends the queries on 100 connections; returns the status of each that was answered."""
    statuses: dict[str, int] = {}
    remaining = iter(queries)

    async def send() -> None:
        with contextlib.suppress(OSError, EOFError):
            reader, writer = await asyncio.open_connection("127.0.0.1", tracking.port)
            for query in remaining:
                writer.write(f"GET {path}?{query} HTTP/1.1\r\nhost: ads.example\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(43)
                statuses[query] = int(head.split()[1])
            writer.close()

    await asyncio.gather(*(send() for _ in range(100)))
    return statuses


def test_impression_is_answered_with_a_gif_and_stored_unparsed(tracking: Any, shared: redis.Redis) -> None:
    pixel_id = uuid4()
    headers = {"user-agent": "Firefox", "referer": "https://news.example/", "x-forwarded-for": "10.9.9.9, 192.0.2.7"}
    answer = httpx.get(f"{tracking.url}/track/pixel/{pixel_id}?event=impression&zone=7", headers=headers)
    assert answer.status_code == 200
    assert is_gif(answer)
    assert "no-store" in answer.headers["cache-control"]
    assert answer.headers["access-control-allow-origin"] == "*"
    (request,) = collected(shared)
    assert request.path == f"/track/pixel/{pixel_id}"
    assert request.query == "event=impression&zone=7"
    assert (request.user_agent, request.referrer) == ("Firefox", "https://news.example/")
    assert request.remote_address == "192.0.2.7"
    assert abs(request.time.ToSeconds() - SystemClock().now().timestamp()) < 5


def test_malformed_impression_is_answered_with_a_gif(tracking: Any, shared: redis.Redis) -> None:
    suffixes = ["", "x", "%00", "%ff%fe", "x" * 5000, "a/b/c", f"{uuid4()}?zone={'z' * 9000}", "?event=%"]
    for suffix in suffixes:
        answer = httpx.get(f"{tracking.url}/track/pixel/{suffix}", headers={"user-agent": b"\xff\xfe"})
        assert (answer.status_code, is_gif(answer)) == (200, True), suffix
    assert len(collected(shared)) == len(suffixes)


def test_thousand_concurrent_impressions_become_thousand_events(
    tracking: Any, db: Database, bus: RedisBus, add_pixel: Callable[..., Pixel]
) -> None:
    pixel = add_pixel()
    statuses = asyncio.run(send_concurrently(tracking, f"/track/pixel/{pixel.id}", [f"n={n}" for n in range(1000)]))
    assert list(statuses.values()) == [200] * 1000
    parser = EventParser(partial(find_any_tenant, db), VisitorIds(b"k" * 32))
    enricher = Enricher(parser, bus, db, SystemClock())
    consumer = Consumer(bus.subscribe("collected", "enricher", "test"), enricher.handle, batch=300)
    while consumer.run_once(1):
        pass
    found = [TrackingEvent.FromString(one.payload) for one in bus.subscribe("events", "t", "t").receive(2000, 1)]
    assert len(found) == 1000
    assert len({event.id for event in found}) == 1000
    assert {event.campaign_id for event in found} == {str(pixel.campaign_id)}


def test_impressions_answered_with_200_survive_a_killed_collector(
    start: Callable[..., Any], shared: redis.Redis
) -> None:
    tracking = start("tracking")

    async def kill_while_sending() -> dict[str, int]:
        sending = asyncio.create_task(send_concurrently(tracking, f"/track/pixel/{uuid4()}", queries))
        while shared.xlen("bus:collected") < 300:
            await asyncio.sleep(0.005)
        tracking.kill()
        return await sending

    queries = [f"n={n}" for n in range(10_000)]
    answered = asyncio.run(kill_while_sending())
    assert 0 < len(answered) < len(queries)
    assert set(answered.values()) == {200}
    assert set(answered) <= {request.query for request in collected(shared)}


def test_impression_or_click_that_cannot_be_stored_is_answered_with_503(
    start: Callable[..., Any], tmp_path: Path, add_pixel: Callable[..., Pixel]
) -> None:
    with ValkeyServer(tmp_path / "valkey", fsync=False) as valkey:
        tracking = start("tracking", REDIS_URL=valkey.url())
        pixel_id = add_pixel().id
        impression, click = (f"{tracking.url}/track/{kind}/{pixel_id}" for kind in ("pixel", "click"))
        assert (httpx.get(impression).status_code, httpx.get(click).status_code) == (200, 302)
        valkey.kill()
        refused = httpx.get(impression)
        assert (refused.status_code, refused.headers["retry-after"], is_gif(refused)) == (503, "1", True)
        refused = httpx.get(click)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["details"][0]["reason"] == "UNAVAILABLE"
        valkey.start()
        assert eventually(lambda: httpx.get(impression).status_code == 200, within_s=5)
        assert httpx.get(click).status_code == 302
        with redis.Redis.from_url(valkey.url()) as after:
            # The first two were written to the file before they were answered, so they survived.
            assert len(collected(after)) == 4
