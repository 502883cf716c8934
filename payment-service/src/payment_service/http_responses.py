"""HTTP responses that are read in full before a deadline, and the JSON bodies of webhooks."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from adlib.errors import InvalidArgument

_MAX_RESPONSE_BYTES = 64 * 2**20


def fetch(client: httpx.Client, method: str, url: str, deadline_s: float, **request: Any) -> tuple[int, bytes]:
    """Sends a request and returns the response's status and body, read within `deadline_s` seconds.

    httpx limits each read, not their sum, so it never times out on a response that trickles. httpx.HTTPError, also for
    a response that is too slow or larger than 64 MiB.
    """
    end = time.monotonic() + deadline_s
    with client.stream(method, url, **request) as response:
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if time.monotonic() > end or len(body) > _MAX_RESPONSE_BYTES:
                raise httpx.ReadTimeout("the response is too slow or too large")
        return response.status_code, bytes(body)


def json_object(body: bytes, parse_float: Callable[[str], Any] | None = None) -> Mapping[str, Any]:
    """Parses a webhook's body as a JSON object; INVALID_FIELD."""
    try:
        parsed = json.loads(body, parse_float=parse_float)
    # RecursionError: the body is nested deeper than Python's stack.
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("the body is not JSON") from error
    if not isinstance(parsed, dict):
        raise InvalidArgument("the body is not a JSON object")
    return parsed
