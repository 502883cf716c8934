"""Answers over HTTP that are whole and in time, or none."""

import time
from typing import Any

import httpx

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
