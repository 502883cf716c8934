"""Answers over HTTP that are whole and in time, or none; and bodies of webhooks."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from adlib.errors import InvalidArgument

_LARGEST = 64 * 2**20


def whole(client: httpx.Client, method: str, url: str, within_s: float, **request: Any) -> tuple[int, bytes]:
    """The status and the body; httpx.HTTPError also where the answer trickles, which is in time at every single step.

    The client's own timeouts are for connecting and for each of its steps.
    """
    end = time.monotonic() + within_s
    with client.stream(method, url, **request) as answer:
        read = bytearray()
        for part in answer.iter_bytes():
            read += part
            if time.monotonic() > end or len(read) > _LARGEST:
                raise httpx.ReadTimeout("too slow, or too large")
        return answer.status_code, bytes(read)


def json_object(body: bytes, parse_float: Callable[[str], Any] | None = None) -> Mapping[str, Any]:
    """The object that a webhook's body is; INVALID_FIELD."""
    try:
        found = json.loads(body, parse_float=parse_float)
    # RecursionError: of one that is nested deeper than Python can follow.
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("the body is no JSON") from error
    if not isinstance(found, dict):
        raise InvalidArgument("the body is no JSON object")
    return found
