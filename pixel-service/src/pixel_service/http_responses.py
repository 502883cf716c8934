"""Responses of the tracking URLs."""

import json
from typing import Final, NamedTuple

import grpc
from google.protobuf import json_format

from adlib.errors import AppError

# 43 bytes: one transparent pixel.
GIF: Final = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")

Headers = list[tuple[str, str]]

# Pages of every origin call the tracking URLs, without cookies.
_ANY_ORIGIN: Final = [("access-control-allow-origin", "*"), ("cache-control", "no-store, max-age=0")]
_GIF_HEADERS: Final = [*_ANY_ORIGIN, ("content-type", "image/gif")]
_JSON_HEADERS: Final = [*_ANY_ORIGIN, ("content-type", "application/json")]

_HTTP_STATUS: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.UNIMPLEMENTED: 405,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class HttpResponse(NamedTuple):
    """Status, headers and body."""

    status: int
    headers: Headers
    body: bytes = b""


GIF_OK: Final = HttpResponse(200, _GIF_HEADERS, GIF)
PREFLIGHT: Final = HttpResponse(
    204,
    [
        *_ANY_ORIGIN,
        ("access-control-allow-methods", "GET, POST, OPTIONS"),
        ("access-control-allow-headers", "content-type"),
        ("access-control-max-age", "86400"),
    ],
)


def gif_unavailable(error: AppError) -> HttpResponse:
    """A GIF with status 503: the impression was not counted."""
    return HttpResponse(503, [*_GIF_HEADERS, *_retry_after(error)], GIF)


def redirect(url: str) -> HttpResponse:
    """A 302 to the URL."""
    return HttpResponse(302, [*_ANY_ORIGIN, ("location", url)])


def json_ok(value: dict[str, object]) -> HttpResponse:
    """The value as JSON."""
    return HttpResponse(200, _JSON_HEADERS, json.dumps(value).encode())


def json_error(error: AppError, status: int | None = None) -> HttpResponse:
    """The error in the JSON shape of all the platform's errors; `status` replaces that of its gRPC code."""
    body = json.dumps(json_format.MessageToDict(error.status())).encode()
    status = status or _HTTP_STATUS.get(error.code, 500)
    return HttpResponse(status, [*_JSON_HEADERS, *_retry_after(error)], body)


def _retry_after(error: AppError) -> Headers:
    return [] if error.retry_after_s is None else [("retry-after", str(max(1, round(error.retry_after_s))))]
