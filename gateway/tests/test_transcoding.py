"""Transcoding of JSON to gRPC and back."""

from typing import Any

import grpc
import httpx
import pytest
from adplatform.auth.v1 import auth_pb2
from adplatform.campaign.v1 import campaign_pb2
from adplatform.errors.v1 import errors_pb2
from adplatform.payment.v1 import payment_pb2
from google.api.httpbody_pb2 import HttpBody
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from .harness import Call, Gateway, error_of, message_class

CREATE = "/adplatform.campaign.v1.CampaignService/CreateCampaign"


def test_zero_values_and_enum_names_are_printed(platform: Gateway, api: httpx.Client) -> None:
    balance = api.get("/billing/balance", headers=platform.signed_in)
    figures = ("available", "held", "spent", "reserved", "debt")
    assert balance.json() == {"currencyCode": "", **{f"{name}Micros": "0" for name in figures}}
    for worker in (platform.services["campaign-service"], platform.second_worker):
        worker.responses[CREATE] = campaign_pb2.Campaign(state=campaign_pb2.Campaign.ACTIVE, budget_micros=5)
    campaign = api.post("/campaigns", json={"name": "a"}, headers=platform.signed_in).json()
    assert (campaign["state"], campaign["budgetMicros"], campaign["stateReasons"]) == ("ACTIVE", "5", [])


def test_literal_path_takes_precedence_over_a_variable(platform: Gateway, api: httpx.Client) -> None:
    for path, rpc in [
        ("/publishers/balances", "PublisherService/ListBalances"),
        ("/publishers/payout", "PublisherService/GetPublisher"),
        ("/publishers/x1", "PublisherService/GetPublisher"),
    ]:
        platform.reset()
        assert api.get(path, headers=platform.signed_in).status_code == 200
        assert [call.path.removeprefix("/adplatform.publisher.v1.") for call in platform.calls] == [rpc]


def test_post_may_have_no_body(platform: Gateway, api: httpx.Client) -> None:
    """With a content length of zero or, as some clients send it, without one."""
    path = "/campaigns/x1/start"
    for content in (b"", b"{}", None):
        assert api.post(path, content=content, headers=platform.signed_in).status_code == 200
    request = api.build_request("POST", path, headers=platform.signed_in)
    del request.headers["content-length"]
    assert api.send(request).status_code == 200
    assert {call.body for call in platform.calls} == {
        campaign_pb2.StartCampaignRequest(campaign_id="x1").SerializeToString()
    }


def test_fields_reach_the_service_exactly(platform: Gateway, api: httpx.Client) -> None:
    name = '\u00c4\u20ac\U0001f600 \\" }{'
    bid = {"model": "CPC", "priceMicros": 1}
    body = {"name": name, "budgetMicros": "9007199254740993", "bid": bid, "target_url": "http://a"}
    assert api.post("/campaigns", json=body, headers=platform.signed_in).status_code == 200
    request = campaign_pb2.CreateCampaignRequest.FromString(platform.calls[0].body)
    assert (request.name, request.budget_micros, request.target_url) == (name, 9007199254740993, "http://a")
    assert request.bid.price_micros == 1


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"nope": 1}, "nope"),
        ({"bid": {"nope": 1}}, "bid.nope"),
        ({"name": "a", "targeting": {"countries": ["DE"], "nope": {"deep": []}}}, "targeting.nope"),
        ({"name": '"}{\\', 'x"y': 1}, "x?"),
        ({"name": 5}, "name"),
        ({"budgetMicros": "ten"}, "budgetMicros"),
        ({"budgetMicros": 1.5}, "budgetMicros"),
        ({"bid": {"model": "NONE_SUCH"}}, "bid.model"),
        ({"startTime": "yesterday"}, "startTime"),
    ],
)
def test_invalid_field_is_400_and_named(platform: Gateway, api: httpx.Client, body: dict[str, Any], named: str) -> None:
    response = api.post("/campaigns", json=body, headers=platform.signed_in)
    assert (response.status_code, error_of(response)) == (400, (3, "INVALID_FIELD"))
    assert named in response.json()["message"]
    assert platform.calls == []


@pytest.mark.parametrize(
    ("path", "body", "field", "description"),
    [
        ("/campaigns", {"bid": {"nope": 1}}, "bid.nope", "there is no such field"),
        ("/campaigns", {"name": 5}, "name", "must be a string"),
        ("/campaigns", {"name": {}}, "name", "must not be an object"),
        ("/campaigns", {"bid": {"model": 'NO"'}}, "bid.model", 'invalid value "NO""'),
        ("/campaigns", {"bid": {"price_micros": "ten"}}, "bid.priceMicros", 'invalid value "ten"'),
        ("/campaigns", {"networks": ["NO"]}, "networks[0]", 'invalid value "NO"'),
        ("/campaigns", {"startTime": 5}, "startTime", "must be a time such as 2026-01-31T09:30:00Z"),
        ("/campaigns?pageSize=many", None, "pageSize", 'invalid value "many"'),
        ("/campaigns?page_size.x=1", None, "pageSize", "has no fields of its own"),
        ("/campaigns?nope=1", None, "nope", "there is no such field"),
    ],
)
def test_invalid_field_has_the_error_shape_of_the_services(
    platform: Gateway, api: httpx.Client, path: str, body: Any, field: str, description: str
) -> None:
    response = api.request("POST" if body else "GET", path, json=body, headers=platform.signed_in)
    assert (response.status_code, error_of(response)) == (400, (3, "INVALID_FIELD"))
    assert response.json()["message"] == f"{field}: {description}"
    assert response.json()["details"][1:] == [
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": field, "description": description}],
        }
    ]
    assert platform.calls == []


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("9223372036854775808", "AMOUNT_TOO_LARGE"),
        ('"9223372036854775808"', "AMOUNT_TOO_LARGE"),
        ('"+9223372036854775808"', "AMOUNT_TOO_LARGE"),
        ("18446744073709551616", "AMOUNT_TOO_LARGE"),
        ("1e30", "AMOUNT_TOO_LARGE"),
        ('"1e30"', "AMOUNT_TOO_LARGE"),
        ('"%s"' % ("9" * 400), "AMOUNT_TOO_LARGE"),
        ('"-9223372036854775809"', "AMOUNT_NOT_POSITIVE"),
        ("-1e30", "AMOUNT_NOT_POSITIVE"),
        ("1.5", "INVALID_FIELD"),
        ('"1.2.3"', "INVALID_FIELD"),
        ('"inf"', "INVALID_FIELD"),
        ('"9223372036854775808 "', "INVALID_FIELD"),
        ('"9223372036854775808\\n"', "INVALID_FIELD"),
        ('""', "INVALID_FIELD"),
    ],
    ids=lambda text: text[:25],
)
@pytest.mark.parametrize("name", ["amountMicros", "amount_micros"])
def test_amount_beyond_int64_has_an_amount_reason(
    platform: Gateway, api: httpx.Client, name: str, number: str, reason: str
) -> None:
    response = api.post("/payments/create", content=f'{{"{name}":{number}}}', headers=platform.signed_in)
    assert (response.status_code, error_of(response)) == (400, (3, reason))
    (violation,) = response.json()["details"][1]["fieldViolations"]
    assert violation["field"] == "amountMicros"
    assert "9999" not in response.text
    assert platform.calls == []


def test_only_amounts_have_an_amount_reason(platform: Gateway, api: httpx.Client) -> None:
    for path, body, reason in [
        ("/campaigns", {"bid": {"priceMicros": 10**20}}, "AMOUNT_TOO_LARGE"),
        ("/campaigns", {"currencyCode": 10**20}, "INVALID_FIELD"),
        ("/campaigns?pageSize=99999999999999999999", None, "INVALID_FIELD"),
    ]:
        response = api.request("POST" if body else "GET", path, json=body, headers=platform.signed_in)
        assert error_of(response) == (3, reason)


def test_amounts_at_the_limits_of_int64_reach_the_service(platform: Gateway, api: httpx.Client) -> None:
    for amount in (2**63 - 1, -(2**63)):
        platform.reset()
        body = {"amountMicros": str(amount)}
        assert api.post("/payments/create", json=body, headers=platform.signed_in).status_code == 200
        assert payment_pb2.CreatePaymentRequest.FromString(platform.calls[0].body).amount_micros == amount


MALFORMED = [
    b"{",
    b"{]",
    b'{"name"}',
    b'{"name":',
    b'{"name":"a"} more',
    b'{"name":"\\ud800"}',
    b'{"name":"\xff"}',
    b'{"name":\0}',
    b'{"name":"' + b"\\" * 999,
    b'{"bid":' * 100_000,
    b"[" * 100_000,
    b"[]",
    b"null",
    b'"text"',
    b"\xff\xfe",
    b"\0",
]


@pytest.mark.parametrize("body", MALFORMED, ids=[str(body[:20]) for body in MALFORMED])
def test_malformed_body_is_400(platform: Gateway, api: httpx.Client, body: bytes) -> None:
    response = api.post("/campaigns", content=body, headers=platform.signed_in)
    assert (response.status_code, error_of(response)) == (400, (3, "INVALID_FIELD"))
    assert platform.calls == []


@pytest.mark.parametrize("query", ["nope=1", "pageSize=many", "pageSize=99999999999", "pageToken=%ff", "pageToken=%00"])
def test_invalid_query_is_400(platform: Gateway, api: httpx.Client, query: str) -> None:
    response = api.get(f"/campaigns?{query}", headers=platform.signed_in)
    assert (response.status_code, error_of(response)) == (400, (3, "INVALID_FIELD"))
    assert platform.calls == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("nope=1", "nope: there is no such field"),
        ("x%22y%5C=1", "x%22y%5C: there is no such field"),
        ("state=NOPE", 'state: invalid value "NOPE"'),
        ("state=a%0Ab", "state: invalid value"),
        ("pageSize=many", 'pageSize: invalid value "many"'),
        ("page_size=many", 'pageSize: invalid value "many"'),
        ("pageSize.x=1", "pageSize: has no fields of its own"),
    ],
)
def test_error_of_a_query_names_no_types(platform: Gateway, api: httpx.Client, query: str, message: str) -> None:
    response = api.get(f"/campaigns?{query}", headers=platform.signed_in)
    assert response.json()["message"] == message


@pytest.mark.parametrize(
    "body",
    [{"bid": {"model": "NOPE"}}, {"bid": "x"}, {"networks": ["NOPE"]}, {"startTime": "x"}, {"startTime": 5}, [], None],
)
def test_error_of_a_body_names_no_types(platform: Gateway, api: httpx.Client, body: Any) -> None:
    response = api.post("/campaigns", json=body, content=b"null" if body is None else None, headers=platform.signed_in)
    assert (response.status_code, error_of(response)) == (400, (3, "INVALID_FIELD"))
    message = response.json()["message"]
    assert not [inner for inner in ("adplatform.", "google", "TYPE_") if inner in message]
    assert message[0] != ":"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"budgetMicros": "x"}, 'budgetMicros: invalid value "x"'),
        ({"bid": {"price_micros": "x_y"}}, 'bid.priceMicros: invalid value "x_y"'),
        ({"networks": ["NOT_ONE"]}, 'networks[0]: invalid value "NOT_ONE"'),
        ({"networks": ["X" * 101]}, "networks[0]: invalid value"),
        ({"networks": ["\\"]}, "networks[0]: invalid value"),
        ({"name": 5}, "name: must be a string"),
        ({"name": {}}, "name: must not be an object"),
        ({"networks": [{}]}, "networks: must not be an object"),
        ({"bid": {"price_micros": {}}}, "bid.priceMicros: must not be an object"),
        ({"name": ["x"]}, "the request has a list where there can be none"),
        ({"startTime": "tomorrow"}, "startTime: must be a time such as 2026-01-31T09:30:00Z"),
        ([], "the request must be a JSON object"),
    ],
)
def test_error_of_a_value_has_its_json_name(platform: Gateway, api: httpx.Client, body: Any, message: str) -> None:
    response = api.post("/campaigns", json=body, headers=platform.signed_in)
    assert (response.status_code, response.json()["message"]) == (400, message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"email=a&password=secret", "the request is not JSON: unexpected token"),
        (b'{"password":"\\usecret"}', "the request is not JSON: invalid escape sequence"),
        (b'{"password":"\\ud800secret"}', "the request is not JSON: missing low surrogate"),
        (b'{"password":"a"} secret', "the request is not JSON: parsing terminated before end of input"),
        (b"\xffsecret", "the request is not JSON: encountered non UTF-8 code points"),
        (b'{"password":"secret', "the request is not JSON: closing quote expected in string"),
        (b"{", "the request is not JSON: unexpected end of string"),
        (b'{"password":5432154321}', "password: must be a string"),
        (b"[" * 200, "the request is nested too deeply"),
    ],
)
def test_error_does_not_repeat_a_secret(api: httpx.Client, body: bytes, message: str) -> None:
    response = api.post("/auth/signup", content=body)
    assert (response.status_code, error_of(response)) == (400, (3, "INVALID_FIELD"))
    assert response.json()["message"] == message


def test_unicode_in_a_query_reaches_the_service(platform: Gateway, api: httpx.Client) -> None:
    for query in ("pageToken=%C3%84%E2%82%AC%F0%9F%98%80%20100%25", "page_token=%C3%84%E2%82%AC%F0%9F%98%80+100%25"):
        platform.reset()
        assert api.get(f"/campaigns?{query}", headers=platform.signed_in).status_code == 200
        request = campaign_pb2.ListCampaignsRequest.FromString(platform.calls[0].body)
        assert request.page_token == "\u00c4\u20ac\U0001f600 100%"


def test_body_cannot_override_the_id_in_the_path(platform: Gateway, api: httpx.Client) -> None:
    for name in ("campaignId", "campaign_id"):
        platform.reset()
        response = api.post("/campaigns/x1/pause", json={name: "another"}, headers=platform.signed_in)
        ids = [campaign_pb2.PauseCampaignRequest.FromString(call.body).campaign_id for call in platform.calls]
        assert (response.status_code, ids) in [(200, ["x1"]), (400, [])]


def test_webhook_body_is_forwarded_byte_for_byte(platform: Gateway, api: httpx.Client) -> None:
    raw = b' { "id" : "evt_1",\r\n "unknown": [1.50, null] }\0\xff\n'
    for path, name in (("/webhooks/stripe", "stripe-signature"), ("/webhooks/wise", "x-signature-sha256")):
        platform.reset()
        signed = {name: "t=1,v1=abc/+=", "content-type": "application/json; charset=utf-8"}
        assert api.post(path, content=raw, headers=signed).status_code == 200
        (call,) = platform.calls
        request = message_class(call.path).FromString(call.body)
        assert (request.body.data, request.body.content_type) == (raw, signed["content-type"])
        assert call.metadata[name] == signed[name]


def test_document_is_forwarded_with_its_headers(platform: Gateway, api: httpx.Client) -> None:
    headers = {
        "content-disposition": 'inline; filename="R-000042.pdf"', "cache-control": "private, no-cache", "etag": '"1"',
    }  # fmt: skip

    def respond(call: Call, context: grpc.ServicerContext) -> HttpBody:
        context.send_initial_metadata(tuple(headers.items()))
        return HttpBody(content_type="application/pdf", data=b"%PDF-")

    platform.services["payment-service"].responses["/adplatform.payment.v1.ReceiptService/GetReceipt"] = respond
    got = api.get("/payments/x1/receipt?format=PDF", headers=platform.signed_in)
    assert (got.status_code, got.content, got.headers["content-type"]) == (200, b"%PDF-", "application/pdf")
    assert {name: got.headers[name] for name in headers} == headers


def test_error_of_a_service_is_forwarded_with_its_details(platform: Gateway, api: httpx.Client) -> None:
    def refuse(call: Call, context: grpc.ServicerContext) -> payment_pb2.Payment:
        info = any_pb2.Any()
        info.Pack(
            error_details_pb2.ErrorInfo(
                reason=errors_pb2.ErrorReason.Name(errors_pb2.PAYMENT_NOT_FOUND), domain="adplatform"
            )
        )
        status = status_pb2.Status(code=5, message='there is no payment "x1"', details=[info])
        context.abort_with_status(rpc_status.to_status(status))

    platform.services["payment-service"].responses["/adplatform.payment.v1.PaymentService/GetPayment"] = refuse
    response = api.get("/payments/x1", headers=platform.signed_in)
    assert response.status_code == 404
    assert response.json()["message"] == 'there is no payment "x1"'
    assert response.json()["details"][0]["reason"] == "PAYMENT_NOT_FOUND"
    assert not [name for name in response.headers if name.startswith("grpc-")]


@pytest.mark.parametrize(
    ("code", "status", "delay_ms", "header"),
    [(8, 429, 13_200, "14"), (8, 429, 2_000, "2"), (14, 503, 500, "1"), (14, 503, None, None), (9, 400, 5_000, None)],
)
def test_retry_delay_is_copied_to_the_retry_after_header(
    platform: Gateway, api: httpx.Client, code: int, status: int, delay_ms: int | None, header: str | None
) -> None:
    details: list[Message] = [error_details_pb2.ErrorInfo(reason="RATE_LIMITED", domain="adplatform")]
    if delay_ms:
        delay = duration_pb2.Duration(seconds=delay_ms // 1000, nanos=delay_ms % 1000 * 1_000_000)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    message = 'wait: "retryDelay":"99s", start_time: invalid value 5 for type TYPE_STRING'

    def refuse(call: Call, context: grpc.ServicerContext) -> payment_pb2.Payment:
        refusal = status_pb2.Status(code=code, message=message)
        for detail in details:
            refusal.details.add().Pack(detail)
        context.abort_with_status(rpc_status.to_status(refusal))

    platform.services["payment-service"].responses["/adplatform.payment.v1.PaymentService/GetPayment"] = refuse
    response = api.get("/payments/x1", headers=platform.signed_in)
    assert (response.status_code, response.headers.get("retry-after")) == (status, header)
    assert response.json()["message"] == message


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, 503, (14, "UNAVAILABLE")),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504, (4, "DEADLINE_EXCEEDED")),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429, (8, "RATE_LIMITED")),
        (grpc.StatusCode.UNIMPLEMENTED, 500, (13, "INTERNAL")),
        (grpc.StatusCode.UNKNOWN, 500, (13, "INTERNAL")),
    ],
)
def test_error_of_the_grpc_library_gets_an_error_info(
    platform: Gateway, api: httpx.Client, code: grpc.StatusCode, status: int, error: tuple[int, str]
) -> None:
    def fail(call: Call, context: grpc.ServicerContext) -> payment_pb2.Payment:
        context.abort(code, "Exception at 10.0.0.1")

    platform.services["payment-service"].responses["/adplatform.payment.v1.PaymentService/GetPayment"] = fail
    response = api.get("/payments/x1", headers=platform.signed_in)
    assert (response.status_code, error_of(response)) == (status, error)
    assert "10.0.0.1" not in response.text


def test_large_response_is_complete(platform: Gateway, api: httpx.Client) -> None:
    user = auth_pb2.User(id="x", name="n" * 3_000_000)
    platform.services["auth-service"].responses["/adplatform.auth.v1.AuthService/GetProfile"] = auth_pb2.Profile(
        user=user
    )
    response = api.get("/auth/profile", headers=platform.signed_in)
    assert response.status_code == 200, response.text[:300]
    assert len(response.json()["user"]["name"]) == 3_000_000


def test_service_gets_the_gateways_deadline(platform: Gateway, api: httpx.Client) -> None:
    api.get("/auth/profile", headers=platform.signed_in | {"grpc-timeout": "1n"})
    assert 10 < platform.calls[0].seconds_left < 15
