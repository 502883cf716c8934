"""Answers of the tracking URLs."""

import json
from typing import Final, NamedTuple

import grpc
from google.protobuf import json_format

from adlib.errors import AppError

# 43 bytes: one transparent pixel.
GIF: Final = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")

Headers = list[tuple[str, str]]

# Tracking is called from pages of every origin, and carries no cookies.
OPEN: Final = [("access-control-allow-origin", "*"), ("cache-control", "no-store, max-age=0")]
PREFLIGHT: Final = [
    *OPEN,
    ("access-control-allow-methods", "GET, POST, OPTIONS"),
    ("access-control-allow-headers", "content-type"),
    ("access-control-max-age", "86400"),
]
GIF_HEADERS: Final = [*OPEN, ("content-type", "image/gif")]
JSON_HEADERS: Final = [*OPEN, ("content-type", "application/json")]

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


class Answer(NamedTuple):
    """What goes back."""

    status: int
    headers: Headers
    body: bytes = b""


COUNTED: Final = Answer(200, GIF_HEADERS, GIF)


def gif_refused(error: AppError) -> Answer:
    """A GIF that does not claim that anything was counted."""
    return Answer(503, [*GIF_HEADERS, *_retry(error)], GIF)


def found(url: str) -> Answer:
    """Leads to the URL."""
    return Answer(302, [*OPEN, ("location", url)])


def of(value: dict[str, object], status: int = 200) -> Answer:
    """JSON."""
    return Answer(status, JSON_HEADERS, json.dumps(value).encode())


def refused(error: AppError, status: int | None = None) -> Answer:
    """The error in the shape that every error of the platform has."""
    body = json_format.MessageToDict(error.status())
    return Answer(
        status or _HTTP_STATUS.get(error.code, 500), [*JSON_HEADERS, *_retry(error)], json.dumps(body).encode()
    )


def _retry(error: AppError) -> Headers:
    return [] if error.retry_after_s is None else [("retry-after", str(max(1, round(error.retry_after_s))))]
