"""Clicks, conversions and postbacks over HTTP."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

import httpx
import pytest
import redis
from adplatform.events.v1.events_pb2 import CollectedRequest, TrackingEvent

from adlib.clock import SystemClock
from adlib.db import Database
from adtesting import eventually
from pixel_service.click_ids import ClickIds
from pixel_service.pixels import store
from pixel_service.pixels.model import Pixel
from pixel_service.postback_keys import PostbackKeys

KEYS = PostbackKeys(b"a key for tests, of 32 characters")
CLICK_IDS = ClickIds(b"a key for tests, of 32 characters")


@pytest.fixture
def pixel(add_pixel: Callable[..., Pixel]) -> Pixel:
    return add_pixel()


def messages(shared: redis.Redis, topic: str) -> list[bytes]:
    entries: Any = shared.xrange(f"bus:{topic}")
    return [fields[b"m"] for _, fields in entries]


def click(tracking: Any, pixel: Pixel, **parameters: str) -> str:
    answer = httpx.get(f"{tracking.url}/track/click/{pixel.id}", params=parameters)
    assert answer.status_code == 302
    return parse_qs(urlsplit(answer.headers["location"]).query)["click_id"][0]


def raw_get(url: str) -> tuple[int, str, str]:
    """The error of a GET with this exact URL: httpx would repair its percent-escapes."""
    parts = urlsplit(url)
    raw = httpx.URL(f"{parts.scheme}://{parts.netloc}").copy_with(raw_path=f"{parts.path}?{parts.query}".encode())
    return error_of(httpx.get(raw))


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, reason and invalid field of an error."""
    details = {detail["@type"].rpartition(".")[2]: detail for detail in answer.json()["details"]}
    fields = details.get("BadRequest", {}).get("fieldViolations", [{"field": ""}])
    assert answer.json()["message"]
    return answer.status_code, details["ErrorInfo"]["reason"], fields[0]["field"]


def test_click_redirects_only_to_the_campaigns_url(tracking: Any, pixel: Pixel, shared: redis.Redis) -> None:
    url = f"{tracking.url}/track/click/{pixel.id}?url=https://evil.example&target_url=//evil.example"
    answer = httpx.get(url)
    assert answer.status_code == 302
    to = urlsplit(answer.headers["location"])
    assert (to.netloc, to.path, to.fragment) == ("shop.example", "/landing", "offer")
    assert parse_qs(to.query)["from"] == ["ad"]
    assert "no-store" in answer.headers["cache-control"]
    (message,) = messages(shared, "collected")
    assert CollectedRequest.FromString(message).click_id == parse_qs(to.query)["click_id"][0]


def test_click_on_an_unknown_or_deleted_pixel_is_not_found(
    tracking: Any, pixel: Pixel, db: Database, shared: redis.Redis
) -> None:
    for unknown in (uuid4(), "nothing", ""):
        assert error_of(httpx.get(f"{tracking.url}/track/click/{unknown}")) == (404, "PIXEL_NOT_FOUND", "")
    click(tracking, pixel)
    with db.transaction() as tx:
        store.delete(tx, pixel.organization_id, pixel.id, SystemClock().now())
    url = f"{tracking.url}/track/click/{pixel.id}"
    assert eventually(lambda: httpx.get(url).status_code == 404, within_s=4)


def test_page_conversion_counts_once_and_for_the_zone_of_its_click(
    tracking: Any, pixel: Pixel, shared: redis.Redis
) -> None:
    zone = str(uuid4())
    body = {
        "pixelId": str(pixel.id), "clickId": click(tracking, pixel, zone=zone), "goal": "signup",
        "transactionId": "order 1", "valueMicros": "12500000", "currencyCode": "USD",
    }  # fmt: skip
    first = httpx.post(f"{tracking.url}/track/conversion", json=body)
    assert first.status_code == 200
    assert first.headers["access-control-allow-origin"] == "*"
    again = httpx.post(f"{tracking.url}/track/conversion", json=body)
    assert (first.json()["duplicate"], again.json()["duplicate"]) == (False, True)
    assert first.json()["eventId"] == again.json()["eventId"]
    (message,) = eventually(lambda: messages(shared, "events"))
    event = TrackingEvent.FromString(message)
    assert event.id == first.json()["eventId"]
    assert (event.type, event.zone_id, event.goal) == (TrackingEvent.CONVERSION, zone, "signup")
    assert (event.value_micros, event.currency_code) == (12_500_000, "USD")
    assert event.visitor_id


def test_concurrent_duplicate_postbacks_count_once(tracking: Any, pixel: Pixel, shared: redis.Redis) -> None:
    parameters = {"click_id": click(tracking, pixel), "goal": "conversion", "txid": "1", "key": KEYS.of(pixel.id)}
    with ThreadPoolExecutor(16) as pool:
        url = f"{tracking.url}/track/s2s"
        answers = list(pool.map(lambda _: httpx.get(url, params=parameters | {"payout": "2.50"}).json(), range(32)))
    assert sum(not answer["duplicate"] for answer in answers) == 1
    assert len({answer["eventId"] for answer in answers}) == 1
    (message,) = eventually(lambda: messages(shared, "events"))
    assert TrackingEvent.FromString(message).value_micros == 2_500_000


def test_postback_may_be_a_form(tracking: Any, pixel: Pixel) -> None:
    form = {"click_id": click(tracking, pixel), "payout": "1", "key": KEYS.of(pixel.id), "status": "approved"}
    answer = httpx.post(f"{tracking.url}/track/s2s?goal=signup", data=form)
    assert (answer.status_code, answer.json()["duplicate"]) == (200, False)


def test_postback_with_a_repeated_parameter_is_refused(tracking: Any, pixel: Pixel, shared: redis.Redis) -> None:
    """Also if one value is in the query and the other in the form: which of them is meant is ambiguous."""
    good = {"click_id": click(tracking, pixel), "goal": "conversion", "key": KEYS.of(pixel.id), "txid": "1"}
    good |= {"payout": "2.50", "status": "approved"}
    url = f"{tracking.url}/track/s2s?{urlencode(good)}"
    for name, value in good.items():
        for again in (value, "another"):
            twice = urlencode({name: again})
            assert error_of(httpx.get(f"{url}&{twice}")) == (400, "INVALID_FIELD", name)
            assert error_of(httpx.get(f"{url}&%{ord(name[0]):02X}{twice[1:]}")) == (400, "INVALID_FIELD", name)
            assert error_of(httpx.post(url, content=twice)) == (400, "INVALID_FIELD", name)
    assert messages(shared, "events") == []
    answer = httpx.get(f"{url}&sub1=a&sub1=b&=&&%zz=1")
    assert (answer.status_code, answer.json()["duplicate"]) == (200, False)


def test_postback_with_a_broken_encoding_is_refused(tracking: Any, pixel: Pixel) -> None:
    """Lenient decoding would make two invalid transaction ids equal, and the second sale a duplicate."""
    good = {"click_id": click(tracking, pixel), "goal": "conversion", "key": KEYS.of(pixel.id)}
    url = f"{tracking.url}/track/s2s?{urlencode(good)}"
    for name, text in (("txid", "%ff"), ("txid", "%zz"), ("txid", "100%"), ("payout", "1%2"), ("status", "%C3")):
        assert raw_get(f"{url}&{name}={text}") == (400, "INVALID_FIELD", name), text
    assert error_of(httpx.post(url, content=b"txid=\xff")) == (400, "INVALID_FIELD", "")
    assert error_of(httpx.get(url + "&a=1" * 64)) == (400, "INVALID_FIELD", "")
    headers = {"content-encoding": "gzip"}
    assert error_of(httpx.post(url, content=b"txid=1", headers=headers)) == (400, "INVALID_FIELD", "content-encoding")


def test_conversion_with_a_repeated_field_or_one_in_the_query_is_refused(
    tracking: Any, pixel: Pixel, shared: redis.Redis
) -> None:
    url = f"{tracking.url}/track/conversion"
    good = {"pixelId": str(pixel.id), "goal": "conversion", "transactionId": "1", "valueMicros": "5"}
    good |= {"currencyCode": pixel.currency_code}
    for name, value in good.items():
        for again in (json.dumps(value), "null", '"another"'):
            key = f"\\u{ord(name[0]):04x}{name[1:]}"
            body = f'{json.dumps(good)[:-1]}, "{key}": {again}}}'
            assert error_of(httpx.post(url, content=body)) == (400, "INVALID_FIELD", name), body
        assert error_of(httpx.post(f"{url}?{name}=x", json=good)) == (400, "INVALID_FIELD", name)
    inner = '{"pixelId": {"a": 1, "a": 2}}'
    assert error_of(httpx.post(url, content=inner)) == (400, "INVALID_FIELD", "a")
    for encoding in ("gzip", "deflate", "br"):
        for encodings in ([encoding], ["identity", encoding], [encoding, "identity"]):
            answer = httpx.post(url, json=good, headers=[("content-encoding", one) for one in encodings])
            assert error_of(answer) == (400, "INVALID_FIELD", "content-encoding")
    assert messages(shared, "events") == []
    assert httpx.post(f"{url}?_=1", json=good, headers={"content-encoding": "identity"}).status_code == 200


def test_click_with_two_zones_redirects_and_has_no_zone(tracking: Any, pixel: Pixel, shared: redis.Redis) -> None:
    """The visitor is not at fault; the publisher is unknown."""
    answer = httpx.get(f"{tracking.url}/track/click/{pixel.id}?zone={uuid4()}&zone={uuid4()}")
    assert answer.status_code == 302
    click_id = parse_qs(urlsplit(answer.headers["location"]).query)["click_id"][0]
    assert CLICK_IDS.verify(click_id, SystemClock().now(), "click_id").zone_id is None


@pytest.fixture
def other_pixel(add_pixel: Callable[..., Pixel]) -> Pixel:
    return add_pixel()


def test_invalid_postback_is_refused_naming_the_parameter(tracking: Any, pixel: Pixel, other_pixel: Pixel) -> None:
    click_id = click(tracking, pixel)
    good = {"click_id": click_id, "goal": "conversion", "key": KEYS.of(pixel.id)}
    for changes, expected in (
        ({"key": ""}, (401, "TOKEN_MISSING", "")),
        ({"key": KEYS.of(other_pixel.id)}, (401, "TOKEN_INVALID", "")),
        ({"click_id": ""}, (400, "INVALID_FIELD", "click_id")),
        ({"click_id": click_id[:-2] + "xx"}, (400, "INVALID_FIELD", "click_id")),
        ({"payout": "1.0000001"}, (400, "INVALID_FIELD", "payout")),
        ({"status": "rejected"}, (400, "INVALID_FIELD", "status")),
        ({"goal": "other"}, (400, "INVALID_FIELD", "goal")),
        ({"txid": "x" * 256}, (400, "INVALID_FIELD", "txid")),
        ({"txid": "a\0b"}, (400, "INVALID_FIELD", "txid")),
    ):
        answer = httpx.get(f"{tracking.url}/track/s2s?{urlencode(good | changes)}")
        assert error_of(answer) == expected, changes


def test_invalid_conversion_is_refused_naming_the_field(tracking: Any, pixel: Pixel, other_pixel: Pixel) -> None:
    good: dict[str, object] = {"pixelId": str(pixel.id), "goal": "conversion"}
    for changes, expected in (
        ({"pixelId": None}, (400, "INVALID_FIELD", "pixelId")),
        ({"pixelId": str(uuid4())}, (404, "PIXEL_NOT_FOUND", "")),
        ({"pixelId": 7}, (400, "INVALID_FIELD", "pixelId")),
        ({"pixelId": "\ud800"}, (404, "PIXEL_NOT_FOUND", "")),
        ({"\ud800": 1}, (400, "INVALID_FIELD", "?")),
        ({"transactionId": "\ud800"}, (400, "INVALID_FIELD", "transactionId")),
        ({"clickId": "forged"}, (400, "INVALID_FIELD", "clickId")),
        ({"clickId": click(tracking, other_pixel)}, (400, "INVALID_FIELD", "clickId")),
        ({"goal": "other"}, (400, "INVALID_FIELD", "goal")),
        ({"valueMicros": 1.5}, (400, "INVALID_FIELD", "valueMicros")),
        ({"currencyCode": "EUR"}, (400, "INVALID_FIELD", "currencyCode")),
        ({"surprise": 1}, (400, "INVALID_FIELD", "surprise")),
    ):
        answer = httpx.post(f"{tracking.url}/track/conversion", content=json.dumps(good | changes))
        assert error_of(answer) == expected, changes


def test_malformed_or_oversized_body_and_wrong_method_or_path_are_refused(tracking: Any) -> None:
    url = f"{tracking.url}/track/conversion"
    for body in (b"", b"{", b"[]", b"\xff", b"[" * 60_000, b'{"valueMicros": ' + b"9" * 60_000 + b"}"):
        assert error_of(httpx.post(url, content=body)) == (400, "INVALID_FIELD", ""), body[:20]
    assert error_of(httpx.post(url, content=b" " * (64 * 1024 + 1))) == (413, "REQUEST_TOO_LARGE", "")
    chunks = (b" " * 1024 for _ in range(65))
    assert httpx.post(url, content=chunks).status_code == 413
    assert error_of(httpx.get(url)) == (405, "METHOD_NOT_ALLOWED", "")
    assert error_of(httpx.post(f"{tracking.url}/track/pixel/{uuid4()}")) == (405, "METHOD_NOT_ALLOWED", "")
    assert error_of(httpx.get(f"{tracking.url}/track/nothing")) == (404, "PATH_NOT_FOUND", "")


def test_preflight_allows_pages_of_every_origin(tracking: Any) -> None:
    headers = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    answer = httpx.options(f"{tracking.url}/track/conversion", headers=headers)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "content-type"
