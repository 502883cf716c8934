"""The gateway's own responses, and the headers of every response."""

import socket
from typing import Any

import httpx
import pytest

from .harness import JWKS_PATH, ORIGIN, Gateway, error_of

# The default headers of helmet 8.
HELMET = {
    "content-security-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "origin-agent-cluster",
    "referrer-policy",
    "strict-transport-security",
    "x-content-type-options",
    "x-dns-prefetch-control",
    "x-download-options",
    "x-frame-options",
    "x-permitted-cross-domain-policies",
    "x-xss-protection",
}
_REVEALING = ("grpc", "envoy", "python", "via", "x-powered-by")


PREFLIGHT = {
    "origin": ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,organization-id,idempotency-key",
}


KINDS: dict[str, tuple[int, str, str, dict[str, Any]]] = {
    "service response": (200, "GET", "/auth/profile", {"signed_in": True}),
    "health": (200, "GET", "/health", {}),
    "public": (200, "GET", "/auth/jwks", {}),
    "tracking": (200, "GET", "/track/pixel/x1", {}),
    "preflight": (200, "OPTIONS", "/campaigns", {"headers": PREFLIGHT}),
    "malformed": (400, "POST", "/auth/login", {"content": b"{"}),
    "unknown field": (400, "POST", "/auth/login", {"json": {"nope": 1}}),
    "unknown parameter": (400, "GET", "/campaigns?nope=1", {"signed_in": True}),
    "upgrade": (400, "GET", "/auth/jwks", {"headers": {"connection": "upgrade", "upgrade": "websocket"}}),
    "escaped slash": (400, "GET", "/campaigns/a%2Fb", {}),
    "no token": (401, "GET", "/auth/profile", {}),
    "unknown path": (404, "GET", "/nope", {}),
    "native grpc": (404, "POST", JWKS_PATH, {"headers": {"content-type": "application/grpc"}}),
    "wrong method": (405, "DELETE", "/auth/login", {}),
    "too large": (413, "POST", "/auth/login", {"content": b" " * ((1 << 20) + 1)}),
    "headers too large": (431, "GET", "/auth/profile", {"headers": {"x-large": "x" * 40_000}}),
    "too many headers": (431, "GET", "/auth/profile", {"headers": {f"x-{n}": "x" for n in range(120)}}),
}


def send(platform: Gateway, api: httpx.Client, kind: str) -> httpx.Response:
    _, method, path, options = KINDS[kind]
    if "signed_in" in options:
        options = {"headers": platform.signed_in}
    return api.request(method, path, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_every_response_has_security_headers_and_reveals_no_internals(
    platform: Gateway, api: httpx.Client, kind: str
) -> None:
    response = send(platform, api, kind)
    status = KINDS[kind][0]
    assert response.status_code == status
    assert set(response.headers) >= HELMET | {"x-request-id"}
    assert response.headers["x-xss-protection"] == "0"
    assert response.headers["server"] == "adplatform"
    assert not [name for name in response.headers if any(word in name for word in _REVEALING)]
    same = "cross-origin" if kind == "tracking" else "same-origin"
    assert response.headers["cross-origin-resource-policy"] == same
    assert all(len(response.headers.get_list(name)) == 1 for name in HELMET)
    if status >= 400:
        error_of(response)
        assert "envoy" not in response.text.lower()


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("wrong method", (12, "METHOD_NOT_ALLOWED")),
        ("too large", (3, "REQUEST_TOO_LARGE")),
        ("headers too large", (3, "REQUEST_TOO_LARGE")),
        ("escaped slash", (3, "INVALID_FIELD")),
    ],
)
def test_error_has_its_reason(platform: Gateway, api: httpx.Client, kind: str, error: tuple[int, str]) -> None:
    assert error_of(send(platform, api, kind)) == error


def test_wrong_method_gets_the_allow_header(platform: Gateway, api: httpx.Client) -> None:
    assert api.delete("/auth/login").headers["allow"] == "POST"
    assert api.post("/campaigns/x1").headers["allow"] == "DELETE, GET, PATCH, PUT"
    assert platform.calls == []


def test_body_of_one_mebibyte_is_accepted(platform: Gateway, api: httpx.Client) -> None:
    content = b'{"email":"' + b"x" * ((1 << 20) - 12) + b'"}'
    assert len(content) == 1 << 20
    assert api.post("/auth/login", content=content).status_code == 200
    assert api.post("/auth/login", content=(part for part in [content, b" "])).status_code == 413
    assert len(platform.calls) == 1


@pytest.mark.parametrize("headers", [{"x-large": "x" * 30_000}, {f"x-{n}": "x" * 300 for n in range(85)}], ids=len)
def test_headers_below_the_limits_reach_the_service(
    platform: Gateway, api: httpx.Client, headers: dict[str, str]
) -> None:
    for _ in range(10):
        assert api.get("/auth/profile", headers=platform.signed_in | headers).status_code == 200
    assert all(call.metadata.items() >= headers.items() for call in platform.calls)


@pytest.mark.parametrize("own", ["abc-1", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "x" * 64])
def test_plain_request_id_is_used(platform: Gateway, api: httpx.Client, own: str) -> None:
    response = api.get("/auth/profile", headers=platform.signed_in | {"x-request-id": own})
    assert response.headers["x-request-id"] == own == platform.calls[0].metadata["x-request-id"]
    assert api.get("/nope", headers={"x-request-id": own}).headers["x-request-id"] == own


@pytest.mark.parametrize("own", ["", "x" * 65, "with space", '"}{"', "a\tb", "<script>", "\xe4"])
def test_invalid_request_id_is_replaced(platform: Gateway, api: httpx.Client, own: str) -> None:
    headers = {"x-request-id": own.encode("latin-1"), "x-own-request-id": b"smuggled"}
    ids = {api.get("/nope", headers=headers).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
    assert {len(one) for one in ids} == {36}


def test_only_allowed_origins_get_cors_headers(platform: Gateway, api: httpx.Client) -> None:
    allowed = api.options("/campaigns", headers=PREFLIGHT).headers
    assert allowed["access-control-allow-origin"] == ORIGIN
    assert "PATCH" in allowed["access-control-allow-methods"]
    assert "organization-id" in allowed["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in allowed
    for origin in ("http://evil.example", "http://localhost:3000.evil.example", "null"):
        assert (
            "access-control-allow-origin"
            not in api.options("/campaigns", headers=PREFLIGHT | {"origin": origin}).headers
        )
        assert "access-control-allow-origin" not in api.get("/auth/jwks", headers={"origin": origin}).headers
    refused = api.get("/auth/profile", headers={"origin": ORIGIN})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)
    assert "x-request-id" in refused.headers["access-control-expose-headers"]
    assert platform.calls == []


def test_health_is_json(api: httpx.Client) -> None:
    for path in ("/health", "/health?from=probe"):
        response = api.get(path)
        assert (response.json(), response.headers["content-type"]) == ({"status": "ok"}, "application/json")
    assert api.get("/healthy").status_code == 404


@pytest.mark.parametrize(
    ("request_line", "status"),
    [(b"GET /health HTTP/1.0", 426), (b"POST /auth/login HTTP/1.1\r\nhost: x\r\ntransfer-encoding: x", 400)],
)
def test_unsupported_http_gets_an_error_in_json(api: httpx.Client, request_line: bytes, status: int) -> None:
    with socket.create_connection((api.base_url.host, api.base_url.port or 80), timeout=10) as connection:
        connection.sendall(request_line + b"\r\n\r\n")
        response = connection.makefile("rb").read().decode()
    assert response.startswith(f"HTTP/1.1 {status} ")
    assert "\r\nx-request-id: " in response
    assert '"reason":"INVALID_FIELD"' in response
