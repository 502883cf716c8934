"""Responses while services are down, hang, restart or have never started, and how fast they are."""

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import Message

from adgateway.configuration import render

from .harness import (
    JWKS_PATH,
    Call,
    Gateway,
    Tokens,
    bearer,
    envoy,
    error_of,
    gateway,
    message_class,
    settings,
    wait_until,
    wait_until_ready,
)

BALANCE = "/adplatform.payment.v1.BillingService/GetBalance"
LIST = "/adplatform.campaign.v1.CampaignService/ListCampaigns"
CREATE = "/adplatform.campaign.v1.CampaignService/CreateCampaign"


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of this module, with short time-outs."""
    with gateway(tmp_path_factory.mktemp("broken"), timeout_ms=1000, keys_cache_s=1) as running:
        yield running


@pytest.fixture
def api(broken: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=broken.url, timeout=20) as client:
        broken.reset()
        wait_until_ready(broken)
        broken.reset()
        yield client


def test_calls_of_a_stopped_service_get_503_at_once_and_others_succeed(broken: Gateway, api: httpx.Client) -> None:
    signed_in = broken.signed_in
    broken.services["payment-service"].stop()
    started = time.monotonic()
    responses = [api.get("/billing/balance", headers=signed_in) for _ in range(5)]
    assert time.monotonic() - started < 1
    for response in responses:
        assert (response.status_code, error_of(response)) == (503, (14, "UNAVAILABLE"))
        assert response.json()["message"] == "the service does not answer; try again"
    assert api.get("/campaigns", headers=signed_in).status_code == 200
    assert api.get("/auth/profile", headers=signed_in).status_code == 200
    health = wait_until(lambda: (response := api.get("/health")).status_code == 503 and response, 3)
    assert error_of(health) == (14, "UNAVAILABLE")

    broken.services["payment-service"].start()
    wait_until(lambda: api.get("/billing/balance", headers=signed_in).status_code == 200, 3)
    wait_until(lambda: api.get("/health").json() == {"status": "ok"}, 3)


def test_stopped_worker_causes_no_errors(broken: Gateway, api: httpx.Client) -> None:
    broken.second_worker.stop()
    for _ in range(10):
        assert api.get("/campaigns", headers=broken.signed_in).status_code == 200
        assert api.post("/campaigns", json={"name": "a"}, headers=broken.signed_in).status_code == 200
    assert api.get("/health").status_code == 200
    broken.second_worker.start()
    wait_until(lambda: api.get("/campaigns", headers=broken.signed_in) and broken.second_worker.calls, 3)


def test_read_is_retried_once_on_another_worker_and_a_write_is_not(broken: Gateway, api: httpx.Client) -> None:
    def unavailable(call: Call, context: grpc.ServicerContext) -> Message:
        context.abort(grpc.StatusCode.UNAVAILABLE, "try again")

    workers = broken.services["campaign-service"], broken.second_worker
    for worker in workers:
        worker.responses |= {LIST: unavailable, CREATE: unavailable}
    assert api.get("/campaigns", headers=broken.signed_in).status_code == 503
    assert [len(worker.calls) for worker in workers] == [1, 1]
    assert api.post("/campaigns", json={"name": "a"}, headers=broken.signed_in).status_code == 503
    assert sum(len(worker.calls) for worker in workers) == 3
    del workers[0].responses[LIST]
    assert {api.get("/campaigns", headers=broken.signed_in).status_code for _ in range(4)} == {200}


def test_hanging_service_is_504(broken: Gateway, api: httpx.Client) -> None:
    def hang(call: Call, context: grpc.ServicerContext) -> Message:
        """Returns once the gateway has cancelled the call."""
        wait_until(lambda: not context.is_active())
        return message_class(call.path, response=True)()

    broken.services["payment-service"].responses[BALANCE] = hang
    response = api.get("/billing/balance", headers=broken.signed_in)
    assert (response.status_code, error_of(response)) == (504, (4, "DEADLINE_EXCEEDED"))


def test_keys_rotate_without_a_restart(broken: Gateway, api: httpx.Client) -> None:
    def status(kid: str) -> int:
        return api.get("/campaigns", headers=bearer(broken.tokens.access(kid))).status_code

    keys = broken.tokens.access_keys
    keys["second"] = Ed25519PrivateKey.generate()
    wait_until(lambda: status("second") == 200, 4)
    assert status("first") == 200
    withdrawn = keys.pop("second")
    wait_until(
        lambda: api.get("/campaigns", headers=bearer(broken.tokens.access("second", withdrawn))).status_code == 401, 4
    )


def test_cached_keys_are_used_while_auth_service_is_down(broken: Gateway, api: httpx.Client) -> None:
    """Users stay signed in, and the other services decide what they can do without it."""

    def failures() -> int:
        return sum((line["path"], line["status"]) == ("/auth/jwks", 503) for line in broken.log)

    before = failures()
    broken.services["auth-service"].stop()
    response = api.get("/auth/profile", headers=broken.signed_in)
    assert (response.status_code, error_of(response)) == (503, (14, "UNAVAILABLE"))
    # Longer than the keys' cache duration.
    wait_until(lambda: failures() >= before + 3)
    assert api.get("/campaigns", headers=broken.signed_in).status_code == 200
    broken.services["auth-service"].start()


def test_token_is_503_until_keys_were_fetched_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A 401 would sign users out because of an outage of auth-service."""

    def unavailable(call: Call, context: grpc.ServicerContext) -> Message:
        context.abort(grpc.StatusCode.UNAVAILABLE, "starting")

    with gateway(tmp_path_factory.mktemp("without keys")) as running, httpx.Client(base_url=running.url) as api:
        keys = running.services["auth-service"].responses.pop(JWKS_PATH)
        running.services["auth-service"].responses[JWKS_PATH] = unavailable
        wait_until(lambda: api.get("/health").status_code == 200)
        response = api.get("/campaigns", headers=running.signed_in)
        assert (response.status_code, error_of(response)) == (503, (14, "UNAVAILABLE"))
        assert api.get("/campaigns").status_code == 401
        assert (
            api.post("/jobs/sync-stats", headers=bearer(running.tokens.service("campaign-service"))).status_code == 200
        )
        running.services["auth-service"].responses[JWKS_PATH] = keys
        wait_until(lambda: api.get("/campaigns", headers=running.signed_in).status_code == 200, 3)
        assert api.get("/campaigns", headers=bearer(Tokens().access())).status_code == 401


def test_request_is_500_and_not_forwarded_if_the_lua_filter_fails(tmp_path: Path) -> None:
    """Envoy would forward it, here to a service that is not running, and answer 503."""
    chosen = settings(Tokens(), 1)
    rendered = render(chosen)
    connections = rendered["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    for route in connections["route_config"]["virtual_hosts"][0]["routes"]:
        route.pop("metadata", None)
    with envoy(chosen, tmp_path, rendered):
        response = httpx.post(f"http://127.0.0.1:{chosen.listen_port}/auth/login", json={})
        assert (response.status_code, error_of(response)) == (500, (13, "INTERNAL"))
        assert response.headers["x-request-id"]
        wait_until(lambda: "could not be checked" in (tmp_path / "stderr").read_text())
