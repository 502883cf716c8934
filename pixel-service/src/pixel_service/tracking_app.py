"""The tracking URLs as a Granian RSGI application."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import grpc
import prometheus_client
from adplatform.errors.v1.errors_pb2 import ErrorReason
from granian.rsgi import Scope

from adlib.errors import AppError, Internal, NotFound
from adlib.telemetry import logger
from pixel_service.http_requests import BodyTooLarge, Exchange, HttpRequest
from pixel_service.http_responses import PREFLIGHT, HttpResponse, json_error, json_ok
from pixel_service.tracking_urls import HEALTH_PATH, PIXEL_PATH

Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]

_log = logger(__name__)


class MethodNotAllowed(AppError):
    """The path does not support this HTTP method."""

    code = grpc.StatusCode.UNIMPLEMENTED
    reason = ErrorReason.METHOD_NOT_ALLOWED


class PathNotFound(NotFound):
    """There is no such tracking URL."""

    reason = ErrorReason.PATH_NOT_FOUND


@dataclass(frozen=True, slots=True)
class Route:
    """A handler's path and methods. A path with a slash at its end matches every path below it."""

    path: str
    methods: Sequence[str]
    handler: Handler

    def matches(self, path: str) -> bool:
        """Whether this route serves the path."""
        return path.startswith(self.path) if self.path.endswith("/") else path == self.path


class TrackingApp:
    """Routes requests and renders errors."""

    def __init__(self, impressions: Handler, routes: Sequence[Route], *, is_proxied: bool) -> None:
        self._impressions = impressions
        self._routes = [*routes, Route(PIXEL_PATH, ["GET"], impressions)]
        self._is_proxied = is_proxied

    async def __rsgi__(self, scope: Scope, exchange: Exchange) -> None:
        """Serves one request."""
        request = HttpRequest(scope, exchange, is_proxied=self._is_proxied)
        if request.method == "GET" and request.path.startswith(PIXEL_PATH):
            # Most requests by far are impressions, so they skip the routes.
            response = await self._impressions(request)
        else:
            response = await self._respond(request)
        exchange.response_bytes(response.status, response.headers, response.body)

    async def _respond(self, request: HttpRequest) -> HttpResponse:
        try:
            return await self._route(request)
        except BodyTooLarge as error:
            return json_error(error, 413)
        except AppError as error:
            return json_error(error)
        except Exception:  # noqa: BLE001 - a client sees no details of an unexpected error
            _log.error("unexpected_error", path=request.path, exc_info=True)
            return json_error(Internal())

    async def _route(self, request: HttpRequest) -> HttpResponse:
        if request.method == "OPTIONS":
            return PREFLIGHT
        if request.path == HEALTH_PATH:
            return json_ok({"status": "ok"})
        if request.path == "/metrics":
            headers = [("content-type", prometheus_client.CONTENT_TYPE_LATEST)]
            return HttpResponse(200, headers, prometheus_client.generate_latest())
        for route in self._routes:
            if route.matches(request.path):
                if request.method not in route.methods:
                    raise MethodNotAllowed(f"this path takes {' and '.join(route.methods)}")
                return await route.handler(request)
        raise PathNotFound("there is nothing at this path")
