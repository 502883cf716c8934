"""Duplicate and ambiguous fields, parameters and headers are refused for every binding, and reach no service."""

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
from adgateway.request_validation import SINGLE_HEADERS
from adlib.rpc import interceptors

from .duplicates import AmbiguousRequest, ambiguous_requests, headers_of, object_of, query_of, request_of
from .harness import JWKS_PATH, Gateway, error_of, example_path, message_class
from .test_access import BINDINGS, token_for

ONE, TWO = "018f0000-0000-7000-8000-000000000001", "018f0000-0000-7000-8000-000000000002"


def invalid_field(response: httpx.Response) -> str:
    """The field that an INVALID_FIELD error names."""
    assert (response.status_code, error_of(response)) == (400, (3, "INVALID_FIELD")), response.text
    (violation,) = response.json()["details"][1]["fieldViolations"]
    assert response.json()["message"] == f"{violation['field']}: {violation['description']}"
    field: str = violation["field"]
    return field


def send(api: httpx.Client, binding: Binding, request: AmbiguousRequest, headers: dict[str, str]) -> httpx.Response:
    url = example_path(binding.template) + (f"?{request.query}" if request.query else "")
    return api.request(binding.verb, url, content=request.body, headers=headers_of(request, headers))


@pytest.mark.parametrize(("method", "binding"), BINDINGS)
def test_duplicate_and_misplaced_fields_are_refused(
    platform: Gateway, api: httpx.Client, method: Method, binding: Binding
) -> None:
    headers = token_for(method, platform.tokens)
    requests = list(ambiguous_requests(method, binding))
    assert len(requests) > len(SINGLE_HEADERS)
    for request in requests:
        response = send(api, binding, request, headers)
        assert response.status_code == 400, (request, response.text)
        assert invalid_field(response) == request.field, request
        assert platform.calls == [], request


@pytest.mark.parametrize("spelling", [0, 1], ids=["json names", "contract names"])
@pytest.mark.parametrize(("method", "binding"), BINDINGS)
def test_request_with_every_field_once_reaches_the_service(
    platform: Gateway, api: httpx.Client, method: Method, binding: Binding, spelling: int
) -> None:
    if binding.body not in ("", "*") or method.grpc_path == JWKS_PATH:
        return
    message = message_class(method.grpc_path).DESCRIPTOR
    body = object_of(message, binding, spelling=spelling) if binding.body else None
    query = None if binding.body else query_of(message, binding, spelling=spelling)
    headers = token_for(method, platform.tokens)
    response = api.request(binding.verb, example_path(binding.template), params=query, json=body, headers=headers)
    assert response.status_code == 200, response.text
    (call,) = platform.calls
    assert message_class(call.path).FromString(call.body) == request_of(method, binding)


def test_gateway_and_services_have_the_same_single_value_headers() -> None:
    assert set(SINGLE_HEADERS) == set(interceptors.SINGLE_HEADERS)


def test_query_cannot_override_the_campaign_to_delete(platform: Gateway, api: httpx.Client) -> None:
    response = api.delete(f"/campaigns/{ONE}?campaignId={TWO}", headers=platform.signed_in)
    assert (invalid_field(response), platform.calls) == ("campaignId", [])
    response = api.delete(f"/campaigns/{ONE}?campaign_id={TWO}", headers=platform.signed_in)
    assert (invalid_field(response), platform.calls) == ("campaignId", [])
    response = api.delete(f"/campaigns/{ONE}", headers=platform.signed_in)
    (call,) = platform.calls
    assert campaign_pb2.DeleteCampaignRequest.FromString(call.body).campaign_id == ONE


def test_query_cannot_override_the_campaign_to_update(platform: Gateway, api: httpx.Client) -> None:
    for verb in ("PATCH", "PUT"):
        url = f"/campaigns/{ONE}?campaignId={TWO}"
        response = api.request(verb, url, json={"name": "renamed"}, headers=platform.signed_in)
        assert (invalid_field(response), platform.calls) == ("campaignId", [])


def test_query_cannot_override_the_payment_to_refund(platform: Gateway, api: httpx.Client) -> None:
    response = api.post(f"/payments/{ONE}/refund?paymentId={TWO}", json={}, headers=platform.signed_in)
    assert (invalid_field(response), platform.calls) == ("paymentId", [])


def test_query_cannot_override_an_amount(platform: Gateway, api: httpx.Client) -> None:
    body = {"amountMicros": "500000000", "currencyCode": "USD", "provider": "STRIPE"}
    response = api.post("/payments/create?amountMicros=77000000", json=body, headers=platform.signed_in)
    assert (invalid_field(response), platform.calls) == ("amountMicros", [])


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("/auth/login?email=a@b.example&password=S3cret-in-url", "S3cret-in-url"),
        ("/auth/refresh?refreshToken=S3cret-in-url", "S3cret-in-url"),
        ("/auth/refresh?refresh_token=S3cret-in-url", "S3cret-in-url"),
        ("/auth/login?email=a@b.example&S3cret-in-url", "S3cret-in-url"),
    ],
)
def test_secret_in_the_query_is_refused_and_not_repeated(
    platform: Gateway, api: httpx.Client, url: str, secret: str
) -> None:
    response = api.post(url)
    assert invalid_field(response) in ("email", "refreshToken")
    assert secret not in response.text
    assert platform.calls == []


def test_second_member_of_a_oneof_is_refused(platform: Gateway, api: httpx.Client) -> None:
    """Protobuf would use the last of the two payout accounts."""
    account: dict[str, Any] = {"iban": "DE89370400440532013000", "unitedStates": {"accountNumber": "1"}}
    body = {"publisherId": ONE, "amountMicros": "1", "currencyCode": "EUR", "destination": account}
    response = api.post("/publishers/payout", json=body, headers=platform.signed_in)
    assert (invalid_field(response), platform.calls) == ("destination.unitedStates", [])
    account["unitedStates"] = None
    assert api.post("/publishers/payout", json=body, headers=platform.signed_in).status_code == 200


@pytest.mark.parametrize("name", ["organization-id", "idempotency-key", "x-api-key", "authorization"])
def test_repeated_header_is_refused_even_with_equal_values(platform: Gateway, api: httpx.Client, name: str) -> None:
    value = {**platform.signed_in, "organization-id": ONE, "idempotency-key": "k", "x-api-key": "adk_a"}[name]
    others = {} if name in ("authorization", "x-api-key") else platform.signed_in
    response = api.get("/campaigns", headers=[*others.items(), (name, value), (name, value)])
    assert (invalid_field(response), platform.calls) == (name, [])
    assert "once" in response.json()["message"]


def test_duplicates_are_refused_over_http2(platform: Gateway) -> None:
    platform.reset()
    signed_in = list(platform.signed_in.items())
    with httpx.Client(base_url=platform.url, http1=False, http2=True, timeout=20) as api:
        for name in SINGLE_HEADERS:
            others = [] if name == "authorization" else signed_in
            value = platform.signed_in.get(name, "a")
            response = api.get("/campaigns", headers=[*others, (name, value), (name, value)])
            assert (response.http_version, invalid_field(response)) == ("HTTP/2", name)
        response = api.delete(f"/campaigns/{ONE}?campaignId={TWO}", headers=signed_in)
        assert invalid_field(response) == "campaignId"
        encodings = [("content-encoding", "identity"), ("content-encoding", "gzip")]
        assert (
            invalid_field(api.post("/campaigns", content=b"{}", headers=[*signed_in, *encodings])) == "content-encoding"
        )
        assert platform.calls == []
        assert api.get("/campaigns", headers=signed_in).status_code == 200


def test_other_headers_may_be_repeated(platform: Gateway, api: httpx.Client) -> None:
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
def test_broken_percent_escape_is_refused(platform: Gateway, api: httpx.Client, url: str, field: str) -> None:
    # httpx would repair the escape.
    request = api.build_request("GET", "/", headers=platform.signed_in)
    request.url = httpx.URL(str(api.base_url)).copy_with(raw_path=url.encode())
    assert (invalid_field(api.send(request)), platform.calls) == (field, [])


def test_separators_without_parameters_are_ignored_and_incomplete_parameters_refused(
    platform: Gateway, api: httpx.Client
) -> None:
    for query in ("?", "?&", "?&&pageSize=1&"):
        assert api.get(f"/campaigns{query}", headers=platform.signed_in).status_code == 200
        assert api.post(f"/campaigns/x1/start{query[:2]}", headers=platform.signed_in).status_code == 200
    for query in ("?nope", "?=1", "?pageSize", "?pageSize&state=ACTIVE", "?startTime.seconds=1", "?a..b=1", "?.=1"):
        platform.reset()
        invalid_field(api.get(f"/campaigns{query}", headers=platform.signed_in))
        assert platform.calls == []


@pytest.mark.parametrize("encoding", ["deflate", "gzip", "br", "zstd", "compress", "x-unknown", "identity, gzip"])
def test_content_encoding_is_refused(platform: Gateway, api: httpx.Client, encoding: str) -> None:
    headers = platform.signed_in | {"content-encoding": encoding, "content-type": "application/json"}
    response = api.post("/campaigns", content=b'{"name": "a"}', headers=headers)
    assert (invalid_field(response), platform.calls) == ("content-encoding", [])


def test_content_encoding_after_identity_is_refused(platform: Gateway, api: httpx.Client) -> None:
    encodings = [("content-encoding", "identity"), ("content-encoding", "gzip")]
    response = api.post("/campaigns", content=b"{}", headers=[*platform.signed_in.items(), *encodings])
    assert (invalid_field(response), platform.calls) == ("content-encoding", [])


def test_identity_encoding_is_accepted(platform: Gateway, api: httpx.Client) -> None:
    headers = platform.signed_in | {"content-encoding": "Identity"}
    assert api.post("/campaigns", content=b'{"name": "a"}', headers=headers).status_code == 200


def test_webhook_body_may_be_encoded_and_invalid_json(platform: Gateway, api: httpx.Client) -> None:
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
def test_invalid_json_that_lenient_parsers_accept_is_refused(platform: Gateway, api: httpx.Client, body: str) -> None:
    response = api.post("/campaigns", content=body, headers=platform.signed_in)
    assert (response.status_code, error_of(response)) == (400, (3, "INVALID_FIELD"))
    assert response.json()["message"].startswith("the request is not JSON: ")
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
def test_null_and_nested_list_in_a_list_are_refused(
    platform: Gateway, api: httpx.Client, body: Any, field: str
) -> None:
    response = api.post("/campaigns", json=body, headers=platform.signed_in)
    assert (invalid_field(response), platform.calls) == (field, [])


_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_free = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=12,
)


@given(data=st.dictionaries(_text, _free, max_size=4), is_ascii=st.booleans(), indent=st.sampled_from([None, 2]))
@examples(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_valid_json_object_reaches_the_service(
    platform: Gateway, api: httpx.Client, data: dict[str, Any], is_ascii: bool, indent: int | None
) -> None:
    platform.reset()
    body = json.dumps({"data": data}, ensure_ascii=is_ascii, indent=indent)
    response = api.put("/drafts/x1", content=body.encode(), headers=platform.signed_in)
    assert response.status_code == 200, response.text
    (call,) = platform.calls
    expected = personal_pb2.PutDraftRequest(draft_id="x1")
    json_format.ParseDict({"data": data}, expected)
    assert personal_pb2.PutDraftRequest.FromString(call.body) == expected


def test_keys_of_free_form_data_are_compared_exactly(platform: Gateway, api: httpx.Client) -> None:
    body = {"data": {"a_b": 1, "aB": 2, "A_B": 3, "a": None, "b": [None, [None]]}}
    assert api.put("/drafts/x1", json=body, headers=platform.signed_in).status_code == 200
    twice = '{"data": {"a\\u005fb": 1, "a_b": 2}}'
    assert invalid_field(api.put("/drafts/x1", content=twice, headers=platform.signed_in)) == "data.a_b"


ONE_MIB = 1 << 20


def _as_large(unit: str, head: str = '{"data":{"a":[', tail: str = "0]}}") -> str:
    return head + unit * ((ONE_MIB - len(head) - len(tail)) // len(unit)) + tail


def _members(members: Iterable[str]) -> str:
    return '{"data":{' + "".join(members) + '"a":0}}'


LARGE = {
    "one string": _members(['"b":"', "x" * (ONE_MIB - 30), '",']),
    "escapes": _members(['"b":"', "\\n" * (ONE_MIB // 2 - 30), '",']),
    "numbers": _as_large("1000000000000000000,"),
    "lists": _as_large("[],"),
    "objects": _as_large("{},"),
    "spaces": _as_large(" "),
    "keys": _members(f'"{number:06x}":0,' for number in range((ONE_MIB - 40) // 11)),
    "long keys": _members(f'"{"k" * 200}{number:06x}{"k" * 200}":0,' for number in range(2500)),
    "escaped keys": _members(f'"\\u0061{number:06x}":0,' for number in range(60_000)),
    "quotes": '{"data":{"a":"' + "\\" * (ONE_MIB - 20),
}


@pytest.mark.parametrize("kind", LARGE)
def test_one_mebibyte_body_is_validated_in_linear_time(platform: Gateway, api: httpx.Client, kind: str) -> None:
    """It takes at most 0.3 s on an idle core; quadratic time would take minutes."""
    response = api.put("/drafts/x1", content=LARGE[kind], headers=platform.signed_in, timeout=60)
    assert response.status_code == (400 if kind == "quotes" else 200), response.text[:300]
    assert response.elapsed.total_seconds() < 30


def test_credentials_in_the_body_reach_the_service(platform: Gateway, api: httpx.Client) -> None:
    body = {"email": "a@b.example", "password": "p?&=%zz"}
    assert api.post("/auth/login", json=body).status_code == 200
    assert auth_pb2.LogInRequest.FromString(platform.calls[0].body) == auth_pb2.LogInRequest(**body)
