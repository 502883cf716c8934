"""The tracking URLs, as a Granian RSGI application.

Impressions are stored as they came and read later; only clicks and conversions are looked into at once.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Final, TypeVar
from uuid import UUID

import grpc
import prometheus_client
from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.events.v1.events_pb2 import CollectedRequest
from granian.rsgi import Scope

from adlib.errors import AppError, Internal, NotFound, Unavailable
from adlib.ids import NewId
from adlib.telemetry import logger
from pixel_service.collector import answers
from pixel_service.collector.answers import Answer
from pixel_service.collector.commit import GroupCommit
from pixel_service.collector.redirects import location
from pixel_service.collector.requests import Exchange, TooLarge, body_of, remote_address, text_of
from pixel_service.conversions.model import Recorded
from pixel_service.conversions.requests import ConversionRequests, Reporter
from pixel_service.enricher.model import CLICK_PATH, PIXEL_PATH
from pixel_service.pixels.known import KnownPixels
from pixel_service.pixels.model import Pixel, PixelNotFound, pixel_id
from pixel_service.query import zone_id
from pixel_service.signing.click_ids import Click, ClickIds
from pixel_service.signing.visitors import Visitors

# What is kept of a request's parts, in characters: enough for every real one.
_PATH, _QUERY, _AGENT, _REFERRER = 256, 4096, 512, 2048
_NANOSECONDS: Final = 1_000_000_000
_MAX_WAITING = 512

T = TypeVar("T")
_log = logger(__name__)


class MethodNotAllowed(AppError):
    """The URL takes another method."""

    code = grpc.StatusCode.UNIMPLEMENTED
    reason = ErrorReason.METHOD_NOT_ALLOWED


class PathNotFound(NotFound):
    """The URL is none of ours."""

    reason = ErrorReason.PATH_NOT_FOUND


class Tracking:
    """Answers /track/…"""

    def __init__(
        self,
        log: GroupCommit,
        pixels: KnownPixels,
        conversions: ConversionRequests,
        clicks: ClickIds,
        visitors: Visitors,
        threads: Executor,
        ids: NewId,
        *,
        trusted_proxy: bool,
    ) -> None:
        self._log = log
        self._pixels = pixels
        self._conversions = conversions
        self._clicks = clicks
        self._visitors = visitors
        self._threads = threads
        self._ids = ids
        self._trusted_proxy = trusted_proxy
        self._waiting = 0

    async def __rsgi__(self, scope: Scope, exchange: Exchange) -> None:
        """One request."""
        if scope.method == "GET" and scope.path.startswith(PIXEL_PATH):
            answer = await self._impression(scope)
        else:
            answer = await self._other(scope, exchange)
        exchange.response_bytes(answer.status, answer.headers, answer.body)

    async def _impression(self, scope: Scope) -> Answer:
        try:
            await self._log.append(self._collected(scope, self._ids()))
        except Unavailable as error:
            return answers.gif_refused(error)
        return answers.COUNTED

    async def _other(self, scope: Scope, exchange: Exchange) -> Answer:
        try:
            return await self._routed(scope, exchange)
        except TooLarge as error:
            return answers.refused(error, 413)
        except AppError as error:
            return answers.refused(error)
        except Exception:  # noqa: BLE001 - whatever it is, the caller learns no more than that it is ours
            _log.error("unexpected_error", path=scope.path, exc_info=True)
            return answers.refused(Internal())

    async def _routed(self, scope: Scope, exchange: Exchange) -> Answer:
        method, path = scope.method, scope.path
        if method == "OPTIONS":
            return Answer(204, answers.PREFLIGHT)
        if path.startswith(CLICK_PATH):
            _only(method, "GET")
            return await self._click(scope)
        if path == "/track/conversion":
            _only(method, "POST")
            body = await body_of(scope, exchange)
            reporter = self._reporter(scope)
            query = scope.query_string
            return _recorded(await self._in_thread(lambda: self._conversions.from_page(query, body, reporter)))
        if path == "/track/s2s":
            _only(method, "GET", "POST")
            query = scope.query_string
            if method == "POST":
                # As it stands in a form, which is written as a query is.
                query += "&" + text_of(await body_of(scope, exchange))
            return _recorded(await self._in_thread(lambda: self._conversions.from_partner(query)))
        if path == "/track/health":
            return answers.of({"status": "ok"})
        if path == "/metrics":
            headers = [("content-type", prometheus_client.CONTENT_TYPE_LATEST)]
            return Answer(200, headers, prometheus_client.generate_latest())
        if path.startswith(PIXEL_PATH):
            _only(method, "GET")
        raise PathNotFound("there is nothing at this path")

    async def _click(self, scope: Scope) -> Answer:
        text = scope.path.removeprefix(CLICK_PATH)
        known = pixel_id(text)
        pixel = await self._pixel(known) if known else None
        if pixel is None:
            raise PixelNotFound(text[:64])
        event_id = self._ids()
        click_id = self._clicks.sign(Click(event_id, pixel.id, zone_id(scope.query_string[:_QUERY])))
        await self._log.append(self._collected(scope, event_id, click_id))
        return answers.found(location(pixel.target_url, click_id))

    async def _pixel(self, known: UUID) -> Pixel | None:
        if self._pixels.is_fresh(known):
            return self._pixels.get(known)
        return await self._in_thread(lambda: self._pixels.get(known))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Runs what waits for the database; UNAVAILABLE where too much waits already."""
        if self._waiting >= _MAX_WAITING:
            raise Unavailable("too many requests wait for the database; try again")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

    def _collected(self, scope: Scope, event_id: UUID, click_id: str = "") -> bytes:
        header = scope.headers.get
        request = CollectedRequest(
            id=str(event_id),
            path=scope.path[:_PATH],
            query=scope.query_string[:_QUERY],
            remote_address=remote_address(scope, trusted_proxy=self._trusted_proxy),
            user_agent=header("user-agent", "")[:_AGENT],
            referrer=header("referer", "")[:_REFERRER],
            click_id=click_id,
        )
        request.time.seconds, request.time.nanos = divmod(time.time_ns(), _NANOSECONDS)
        return request.SerializeToString()

    def _reporter(self, scope: Scope) -> Reporter:
        agent = scope.headers.get("user-agent", "")[:_AGENT]
        address = remote_address(scope, trusted_proxy=self._trusted_proxy)
        visitor_id = self._visitors.id(datetime.now(UTC), address, agent)
        return Reporter(visitor_id, agent, scope.headers.get("referer", "")[:_REFERRER])


def _only(method: str, *allowed: str) -> None:
    if method not in allowed:
        raise MethodNotAllowed(f"this path takes {' and '.join(allowed)}")


def _recorded(recorded: Recorded) -> Answer:
    return answers.of({"eventId": str(recorded.event_id), "duplicate": recorded.duplicate})
