"""A field has one place and one value in a request, whatever the binding; otherwise no service is reached."""

import json
from collections.abc import Iterable
from typing import Any

import httpx
import pytest
from adplatform.auth.v1 import auth_pb2, personal_pb2
from adplatform.campaign.v1 import campaign_pb2
from google.protobuf import json_format
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from adgateway.contract import Binding, Method
from adgateway.strictness import SINGLE_HEADERS
from adlib.rpc import interceptors

from .running import JWKS_PATH, Gateway, error_of, filled, message_class
from .saying import Way, headers_of, object_of, query_of, request_of, ways
from .test_access import BINDINGS, token_for

ONE, TWO = "018f0000-0000-7000-8000-000000000001", "018f0000-0000-7000-8000-000000000002"


def refused(answer: httpx.Response) -> str:
    """The field that an INVALID_FIELD names, with what to do about it."""
    assert (answer.status_code, error_of(answer)) == (400, (3, "INVALID_FIELD")), answer.text
    (violation,) = answer.json()["details"][1]["fieldViolations"]
    assert answer.json()["message"] == f"{violation['field']}: {violation['description']}"
    field: str = violation["field"]
    return field


def send(api: httpx.Client, binding: Binding, way: Way, headers: dict[str, str]) -> httpx.Response:
    url = filled(binding.template) + (f"?{way.query}" if way.query else "")
    return api.request(binding.verb, url, content=way.body, headers=headers_of(way, headers))


@pytest.mark.parametrize(("method", "binding"), BINDINGS)
def test_a_field_given_twice_is_400_and_reaches_no_service(
    platform: Gateway, api: httpx.Client, method: Method, binding: Binding
) -> None:
    headers = token_for(method, platform.tokens)
    all_ways = list(ways(method, binding))
    assert len(all_ways) > len(SINGLE_HEADERS)
    for way in all_ways:
        answer = send(api, binding, way, headers)
        assert answer.status_code == 400, (way, answer.text)
        assert refused(answer) == way.field, way
        assert platform.calls == [], way


@pytest.mark.parametrize("spelling", [0, 1], ids=["json names", "contract names"])
@pytest.mark.parametrize(("method", "binding"), BINDINGS)
def test_every_field_given_once_arrives(
    platform: Gateway, api: httpx.Client, method: Method, binding: Binding, spelling: int
) -> None:
    if binding.body not in ("", "*") or method.grpc_path == JWKS_PATH:
        return
    message = message_class(method.grpc_path).DESCRIPTOR
    body = object_of(message, binding, spelling=spelling) if binding.body else None
    query = None if binding.body else query_of(message, binding, spelling=spelling)
    headers = token_for(method, platform.tokens)
    answer = api.request(binding.verb, filled(binding.template), params=query, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    (call,) = platform.calls
    assert message_class(call.path).FromString(call.body) == request_of(method, binding)


def test_the_services_take_the_same_headers_once() -> None:
    assert set(SINGLE_HEADERS) == set(interceptors.SINGLE_HEADERS)


def test_a_query_cannot_change_which_campaign_is_deleted(platform: Gateway, api: httpx.Client) -> None:
    answer = api.delete(f"/campaigns/{ONE}?campaignId={TWO}", headers=platform.signed_in)
    assert (refused(answer), platform.calls) == ("campaignId", [])
    answer = api.delete(f"/campaigns/{ONE}?campaign_id={TWO}", headers=platform.signed_in)
    assert (refused(answer), platform.calls) == ("campaignId", [])
    answer = api.delete(f"/campaigns/{ONE}", headers=platform.signed_in)
    (call,) = platform.calls
    assert campaign_pb2.DeleteCampaignRequest.FromString(call.body).campaign_id == ONE


def test_a_query_cannot_change_which_campaign_is_renamed(platform: Gateway, api: httpx.Client) -> None:
    for verb in ("PATCH", "PUT"):
        url = f"/campaigns/{ONE}?campaignId={TWO}"
        answer = api.request(verb, url, json={"name": "renamed"}, headers=platform.signed_in)
        assert (refused(answer), platform.calls) == ("campaignId", [])


def test_a_query_cannot_change_which_payment_is_refunded(platform: Gateway, api: httpx.Client) -> None:
    answer = api.post(f"/payments/{ONE}/refund?paymentId={TWO}", json={}, headers=platform.signed_in)
    assert (refused(answer), platform.calls) == ("paymentId", [])


def test_a_query_cannot_change_an_amount(platform: Gateway, api: httpx.Client) -> None:
    body = {"amountMicros": "500000000", "currencyCode": "USD", "provider": "STRIPE"}
    answer = api.post("/payments/create?amountMicros=77000000", json=body, headers=platform.signed_in)
    assert (refused(answer), platform.calls) == ("amountMicros", [])


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("/auth/login?email=a@b.example&password=S3cret-in-url", "S3cret-in-url"),
        ("/auth/refresh?refreshToken=S3cret-in-url", "S3cret-in-url"),
        ("/auth/refresh?refresh_token=S3cret-in-url", "S3cret-in-url"),
        ("/auth/login?email=a@b.example&S3cret-in-url", "S3cret-in-url"),
    ],
)
def test_a_secret_in_the_url_signs_nobody_in(platform: Gateway, api: httpx.Client, url: str, secret: str) -> None:
    answer = api.post(url)
    assert refused(answer) in ("email", "refreshToken")
    assert secret not in answer.text
    assert platform.calls == []


def test_a_payout_goes_to_one_account(platform: Gateway, api: httpx.Client) -> None:
    """Of two members of a oneof, protobuf keeps the last."""
    account: dict[str, Any] = {"iban": "DE89370400440532013000", "unitedStates": {"accountNumber": "1"}}
    body = {"publisherId": ONE, "amountMicros": "1", "currencyCode": "EUR", "destination": account}
    answer = api.post("/publishers/payout", json=body, headers=platform.signed_in)
    assert (refused(answer), platform.calls) == ("destination.unitedStates", [])
    account["unitedStates"] = None
    assert api.post("/publishers/payout", json=body, headers=platform.signed_in).status_code == 200


@pytest.mark.parametrize("name", ["organization-id", "idempotency-key", "x-api-key", "authorization"])
def test_a_header_sent_twice_is_400_even_with_one_value(platform: Gateway, api: httpx.Client, name: str) -> None:
    value = {**platform.signed_in, "organization-id": ONE, "idempotency-key": "k", "x-api-key": "adk_a"}[name]
    others = {} if name in ("authorization", "x-api-key") else platform.signed_in
    answer = api.get("/campaigns", headers=[*others.items(), (name, value), (name, value)])
    assert (refused(answer), platform.calls) == (name, [])
    assert "once" in answer.json()["message"]


def test_http2_is_no_way_around(platform: Gateway) -> None:
    platform.reset()
    signed_in = list(platform.signed_in.items())
    with httpx.Client(base_url=platform.url, http1=False, http2=True, timeout=20) as api:
        for name in SINGLE_HEADERS:
            others = [] if name == "authorization" else signed_in
            value = platform.signed_in.get(name, "a")
            answer = api.get("/campaigns", headers=[*others, (name, value), (name, value)])
            assert (answer.http_version, refused(answer)) == ("HTTP/2", name)
        answer = api.delete(f"/campaigns/{ONE}?campaignId={TWO}", headers=signed_in)
        assert refused(answer) == "campaignId"
        encodings = [("content-encoding", "identity"), ("content-encoding", "gzip")]
        assert refused(api.post("/campaigns", content=b"{}", headers=[*signed_in, *encodings])) == "content-encoding"
        assert platform.calls == []
        assert api.get("/campaigns", headers=signed_in).status_code == 200


def test_other_headers_may_come_twice(platform: Gateway, api: httpx.Client) -> None:
    others = [("accept", "a"), ("accept", "b"), ("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "1.2.3.5")]
    assert api.get("/campaigns", headers=[*platform.signed_in.items(), *others]).status_code == 200


@pytest.mark.parametrize(
    ("url", "field"),
    [
        ("/campaigns?query=%zz", "query"),
        ("/campaigns?query=a%2", "query"),
        ("/campaigns?query=%", "query"),
        ("/campaigns?query=a&pageToken=%u0041", "pageToken"),
        ("/campaigns?%zz=1", "%zz"),
        ("/campaigns?%zz", "query"),
        ("/campaigns/%zz", "path"),
        ("/campaigns/100%", "path"),
    ],
)
def test_a_broken_percent_escape_is_400(platform: Gateway, api: httpx.Client, url: str, field: str) -> None:
    # httpx would mend the escape.
    request = api.build_request("GET", "/", headers=platform.signed_in)
    request.url = httpx.URL(str(api.base_url)).copy_with(raw_path=url.encode())
    assert (refused(api.send(request)), platform.calls) == (field, [])


def test_a_query_of_signs_alone_says_nothing(platform: Gateway, api: httpx.Client) -> None:
    for query in ("?", "?&", "?&&pageSize=1&"):
        assert api.get(f"/campaigns{query}", headers=platform.signed_in).status_code == 200
        assert api.post(f"/campaigns/x1/start{query[:2]}", headers=platform.signed_in).status_code == 200
    for query in ("?nope", "?=1", "?pageSize", "?pageSize&state=ACTIVE", "?startTime.seconds=1", "?a..b=1", "?.=1"):
        platform.reset()
        refused(api.get(f"/campaigns{query}", headers=platform.signed_in))
        assert platform.calls == []


@pytest.mark.parametrize("encoding", ["deflate", "gzip", "br", "zstd", "compress", "x-unknown", "identity, gzip"])
def test_an_encoded_body_is_400(platform: Gateway, api: httpx.Client, encoding: str) -> None:
    headers = platform.signed_in | {"content-encoding": encoding, "content-type": "application/json"}
    answer = api.post("/campaigns", content=b'{"name": "a"}', headers=headers)
    assert (refused(answer), platform.calls) == ("content-encoding", [])


def test_an_encoding_beside_identity_is_400(platform: Gateway, api: httpx.Client) -> None:
    encodings = [("content-encoding", "identity"), ("content-encoding", "gzip")]
    answer = api.post("/campaigns", content=b"{}", headers=[*platform.signed_in.items(), *encodings])
    assert (refused(answer), platform.calls) == ("content-encoding", [])


def test_identity_is_no_encoding(platform: Gateway, api: httpx.Client) -> None:
    headers = platform.signed_in | {"content-encoding": "Identity"}
    assert api.post("/campaigns", content=b'{"name": "a"}', headers=headers).status_code == 200


def test_a_webhook_may_be_encoded_and_hold_anything(platform: Gateway, api: httpx.Client) -> None:
    raw = b"{'a': 1, 'a': 2,}"
    assert api.post("/webhooks/stripe", content=raw, headers={"content-encoding": "gzip"}).status_code == 200
    (call,) = platform.calls
    assert message_class(call.path).FromString(call.body).body.data == raw


LENIENT = [
    "{'name': 'a'}",
    '{name: "a"}',
    "{\"name\": 'a'}",
    '{"name": "a",}',
    '{,"name": "a"}',
    '{"name": "a",,"budgetMicros": 1}',
    '{"networks": ["REVIVE",]}',
    '{"networks": [,]}',
    '{"networks": [] "name": "a"}',
    '{"budgetMicros": 007}',
    '{"budgetMicros": 0x10}',
    '{"budgetMicros": +1}',
    '{"budgetMicros": 1.}',
    '{"budgetMicros": .5}',
    '{"budgetMicros": 1e}',
    '{"budgetMicros": -}',
    '{"budgetMicros": 1_000}',
    '{"budgetMicros": NaN}',
    '{"budgetMicros": Infinity}',
    '{"name": nul}',
    '{"name": nulls}',
    '{"name": True}',
    '{"name": "a" /* */}',
    '{"name": "a\tb"}',
    '{"name": "a\nb"}',
    '{"name": "\\x41"}',
    '{"name": "\\udc00"}',
    '{"name": "\\ud800\\u0041"}',
    '\ufeff{"name": "a"}',
    '{"name":\v"a"}',
    '{"name": "a"}}',
    '{"name": "a"} {}',
    '{"name" "a"}',
    '{"name": }',
    '{"name"',
    '{"bid": {"model": "CPC"]}',
    " ",
]


@pytest.mark.parametrize("body", LENIENT)
def test_json_that_only_lenient_parsers_take_is_400(platform: Gateway, api: httpx.Client, body: str) -> None:
    answer = api.post("/campaigns", content=body, headers=platform.signed_in)
    assert (answer.status_code, error_of(answer)) == (400, (3, "INVALID_FIELD"))
    assert answer.json()["message"].startswith("the request is not JSON: ")
    assert platform.calls == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"networks": [None]}, "networks[0]"),
        ({"networks": ["REVIVE", None]}, "networks[1]"),
        ({"networks": [["REVIVE"]]}, "networks[0]"),
        ({"targeting": {"countries": ["DE", None]}}, "targeting.countries[1]"),
    ],
)
def test_a_list_holds_no_null_and_no_list(platform: Gateway, api: httpx.Client, body: Any, field: str) -> None:
    answer = api.post("/campaigns", json=body, headers=platform.signed_in)
    assert (refused(answer), platform.calls) == (field, [])


_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_free = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=12,
)


@given(data=st.dictionaries(_text, _free, max_size=4), is_ascii=st.booleans(), indent=st.sampled_from([None, 2]))
@examples(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_that_is_json_arrives(
    platform: Gateway, api: httpx.Client, data: dict[str, Any], is_ascii: bool, indent: int | None
) -> None:
    platform.reset()
    body = json.dumps({"data": data}, ensure_ascii=is_ascii, indent=indent)
    answer = api.put("/drafts/x1", content=body.encode(), headers=platform.signed_in)
    assert answer.status_code == 200, answer.text
    (call,) = platform.calls
    expected = personal_pb2.PutDraftRequest(draft_id="x1")
    json_format.ParseDict({"data": data}, expected)
    assert personal_pb2.PutDraftRequest.FromString(call.body) == expected


def test_keys_of_free_data_differ_by_case_and_by_underscores(platform: Gateway, api: httpx.Client) -> None:
    body = {"data": {"a_b": 1, "aB": 2, "A_B": 3, "a": None, "b": [None, [None]]}}
    assert api.put("/drafts/x1", json=body, headers=platform.signed_in).status_code == 200
    twice = '{"data": {"a\\u005fb": 1, "a_b": 2}}'
    assert refused(api.put("/drafts/x1", content=twice, headers=platform.signed_in)) == "data.a_b"


MEBIBYTE = 1 << 20


def _as_large(unit: str, head: str = '{"data":{"a":[', tail: str = "0]}}") -> str:
    return head + unit * ((MEBIBYTE - len(head) - len(tail)) // len(unit)) + tail


def _members(members: Iterable[str]) -> str:
    return '{"data":{' + "".join(members) + '"a":0}}'


LARGE = {
    "one text": _members(['"b":"', "x" * (MEBIBYTE - 30), '",']),
    "escapes": _members(['"b":"', "\\n" * (MEBIBYTE // 2 - 30), '",']),
    "numbers": _as_large("1000000000000000000,"),
    "lists": _as_large("[],"),
    "objects": _as_large("{},"),
    "spaces": _as_large(" "),
    "keys": _members(f'"{number:06x}":0,' for number in range((MEBIBYTE - 40) // 11)),
    "long keys": _members(f'"{"k" * 200}{number:06x}{"k" * 200}":0,' for number in range(2500)),
    "escaped keys": _members(f'"\\u0061{number:06x}":0,' for number in range(60_000)),
    "quotes": '{"data":{"a":"' + "\\" * (MEBIBYTE - 20),
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_body_of_a_mebibyte_is_read_in_linear_time(platform: Gateway, api: httpx.Client, kind: str) -> None:
    """It takes 0.3 s at most on a free core; a reader that begins again at each token would take minutes."""
    answer = api.put("/drafts/x1", content=LARGE[kind], headers=platform.signed_in, timeout=60)
    assert answer.status_code == (400 if kind == "quotes" else 200), answer.text[:300]
    assert answer.elapsed.total_seconds() < 30


def test_a_login_in_the_body_arrives(platform: Gateway, api: httpx.Client) -> None:
    body = {"email": "a@b.example", "password": "p?&=%zz"}
    assert api.post("/auth/login", json=body).status_code == 200
    assert auth_pb2.LogInRequest.FromString(platform.calls[0].body) == auth_pb2.LogInRequest(**body)
