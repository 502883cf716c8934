"""/track/ is forwarded unchanged to the HTTP server of pixel-service."""

import httpx

from .harness import ORIGIN, Gateway, wait_until


def test_tracking_request_is_forwarded_unchanged(api: httpx.Client) -> None:
    own = {"referer": "http://a/", "user-agent": "me"}
    received = api.get("/track/pixel/x1?event=view&x=%20%ff", headers=own).json()
    assert received["path"] == "/track/pixel/x1?event=view&x=%20%ff"
    assert {name: received["headers"][name] for name in own} == own
    body = '{"pixelId": "x1", "unknown": [1.0]}'
    received = api.post("/track/conversion", content=body, headers={"authorization": "Bearer stale"}).json()
    assert (received["path"], received["body"]) == ("/track/conversion", body)


def test_client_cannot_forge_its_address(platform: Gateway, api: httpx.Client) -> None:
    forged = {"x-forwarded-for": "203.0.113.9", "x-envoy-external-address": "203.0.113.9", "x-real-ip": "203.0.113.9"}
    headers = api.get("/track/pixel/x1", headers=forged).json()["headers"]
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-envoy-external-address"] == "127.0.0.1"
    api.get("/auth/profile", headers=platform.signed_in | forged)
    assert platform.calls[0].metadata["x-forwarded-for"] == "127.0.0.1"


def test_pages_of_every_origin_may_report_conversions(api: httpx.Client) -> None:
    wanted = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    for origin in (ORIGIN, "https://shop.example"):
        response = api.options("/track/conversion", headers={"origin": origin} | wanted)
        assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, origin)
        assert api.get("/track/pixel/x1", headers={"origin": origin}).headers["access-control-allow-origin"] == origin


def test_oversized_body_is_413(api: httpx.Client) -> None:
    assert api.post("/track/conversion", content=b"x" * ((1 << 20) + 1)).status_code == 413


def test_access_log_contains_no_keys_and_tokens(platform: Gateway, api: httpx.Client) -> None:
    marked = {"x-request-id": "find-me-in-the-log"}
    token = platform.tokens.access()
    api.get("/track/s2s?key=very-secret&click_id=1", headers=marked)
    api.get("/billing/balance", headers=marked | {"authorization": f"Bearer {token}"})

    def found() -> list[dict[str, object]] | None:
        lines = [line for line in platform.log if line.get("requestId") == marked["x-request-id"]]
        return lines if len(lines) == 2 else None

    track, balance = wait_until(found)
    assert (track["path"], track["method"], track["status"]) == ("/track/s2s", "GET", 200)
    assert (balance["path"], balance["rpc"]) == ("/billing/balance", "/adplatform.payment.v1.BillingService/GetBalance")
    text = (platform.folder / "stdout").read_text()
    assert "very-secret" not in text
    assert token not in text
