"""What clients see of services that die, hang, return or were never there, and how fast."""

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import Message

from adgateway.configuration import render

from .running import (
    JWKS_PATH,
    Call,
    Gateway,
    Tokens,
    bearer,
    envoy,
    error_of,
    gateway,
    message_class,
    ready,
    settings,
    until,
)

BALANCE = "/adplatform.payment.v1.BillingService/GetBalance"
LIST = "/adplatform.campaign.v1.CampaignService/ListCampaigns"
CREATE = "/adplatform.campaign.v1.CampaignService/CreateCampaign"


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of this module's own, that does not wait long."""
    with gateway(tmp_path_factory.mktemp("broken"), timeout_ms=1000, keys_cache_s=1) as running:
        yield running


@pytest.fixture
def api(broken: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=broken.url, timeout=20) as client:
        broken.reset()
        ready(broken)
        broken.reset()
        yield client


def test_a_dead_service_is_503_at_once_and_the_rest_works(broken: Gateway, api: httpx.Client) -> None:
    signed_in = broken.signed_in
    broken.services["payment-service"].stop()
    began = time.monotonic()
    answers = [api.get("/billing/balance", headers=signed_in) for _ in range(5)]
    assert time.monotonic() - began < 1
    for answer in answers:
        assert (answer.status_code, error_of(answer)) == (503, (14, "UNAVAILABLE"))
        assert answer.json()["message"] == "the service does not answer; try again"
    assert api.get("/campaigns", headers=signed_in).status_code == 200
    assert api.get("/auth/profile", headers=signed_in).status_code == 200
    health = until(lambda: (answer := api.get("/health")).status_code == 503 and answer, 3)
    assert error_of(health) == (14, "UNAVAILABLE")

    broken.services["payment-service"].start()
    until(lambda: api.get("/billing/balance", headers=signed_in).status_code == 200, 3)
    until(lambda: api.get("/health").json() == {"status": "ok"}, 3)


def test_a_dead_worker_is_not_noticed_by_reads_or_writes(broken: Gateway, api: httpx.Client) -> None:
    broken.second_worker.stop()
    for _ in range(10):
        assert api.get("/campaigns", headers=broken.signed_in).status_code == 200
        assert api.post("/campaigns", json={"name": "a"}, headers=broken.signed_in).status_code == 200
    assert api.get("/health").status_code == 200
    broken.second_worker.start()
    until(lambda: api.get("/campaigns", headers=broken.signed_in) and broken.second_worker.calls, 3)


def test_a_read_is_tried_once_more_on_another_worker_and_a_write_is_not(broken: Gateway, api: httpx.Client) -> None:
    def unavailable(call: Call, context: grpc.ServicerContext) -> Message:
        context.abort(grpc.StatusCode.UNAVAILABLE, "try again")

    workers = broken.services["campaign-service"], broken.second_worker
    for worker in workers:
        worker.answers |= {LIST: unavailable, CREATE: unavailable}
    assert api.get("/campaigns", headers=broken.signed_in).status_code == 503
    assert [len(worker.calls) for worker in workers] == [1, 1]
    assert api.post("/campaigns", json={"name": "a"}, headers=broken.signed_in).status_code == 503
    assert sum(len(worker.calls) for worker in workers) == 3
    del workers[0].answers[LIST]
    assert {api.get("/campaigns", headers=broken.signed_in).status_code for _ in range(4)} == {200}


def test_a_service_that_hangs_is_504(broken: Gateway, api: httpx.Client) -> None:
    def hang(call: Call, context: grpc.ServicerContext) -> Message:
        """Until the gateway hangs up."""
        until(lambda: not context.is_active())
        return message_class(call.path, answer=True)()

    broken.services["payment-service"].answers[BALANCE] = hang
    answer = api.get("/billing/balance", headers=broken.signed_in)
    assert (answer.status_code, error_of(answer)) == (504, (4, "DEADLINE_EXCEEDED"))


def test_keys_rotate_without_a_restart(broken: Gateway, api: httpx.Client) -> None:
    def status(kid: str) -> int:
        return api.get("/campaigns", headers=bearer(broken.tokens.access(kid))).status_code

    keys = broken.tokens.access_keys
    keys["second"] = Ed25519PrivateKey.generate()
    until(lambda: status("second") == 200, 4)
    assert status("first") == 200
    withdrawn = keys.pop("second")
    until(
        lambda: api.get("/campaigns", headers=bearer(broken.tokens.access("second", withdrawn))).status_code == 401, 4
    )


def test_keys_outlive_auth_service(broken: Gateway, api: httpx.Client) -> None:
    """The other services decide what they can do without it; nobody is signed out."""

    def failures() -> int:
        return sum((line["path"], line["status"]) == ("/auth/jwks", 503) for line in broken.log)

    before = failures()
    broken.services["auth-service"].stop()
    answer = api.get("/auth/profile", headers=broken.signed_in)
    assert (answer.status_code, error_of(answer)) == (503, (14, "UNAVAILABLE"))
    # Longer than the keys are kept for, had they an end.
    until(lambda: failures() >= before + 3)
    assert api.get("/campaigns", headers=broken.signed_in).status_code == 200
    broken.services["auth-service"].start()


def test_without_keys_a_token_is_neither_good_nor_bad(tmp_path_factory: pytest.TempPathFactory) -> None:
    """auth-service has never answered: that is an outage, and no reason to sign anybody out."""

    def unavailable(call: Call, context: grpc.ServicerContext) -> Message:
        context.abort(grpc.StatusCode.UNAVAILABLE, "starting")

    with gateway(tmp_path_factory.mktemp("without keys")) as running, httpx.Client(base_url=running.url) as api:
        keys = running.services["auth-service"].answers.pop(JWKS_PATH)
        running.services["auth-service"].answers[JWKS_PATH] = unavailable
        until(lambda: api.get("/health").status_code == 200)
        answer = api.get("/campaigns", headers=running.signed_in)
        assert (answer.status_code, error_of(answer)) == (503, (14, "UNAVAILABLE"))
        assert api.get("/campaigns").status_code == 401
        assert (
            api.post("/jobs/sync-stats", headers=bearer(running.tokens.service("campaign-service"))).status_code == 200
        )
        running.services["auth-service"].answers[JWKS_PATH] = keys
        until(lambda: api.get("/campaigns", headers=running.signed_in).status_code == 200, 3)
        assert api.get("/campaigns", headers=bearer(Tokens().access())).status_code == 401


def test_a_request_that_cannot_be_checked_is_500_and_goes_nowhere(tmp_path: Path) -> None:
    """Envoy would pass it on: here to a service that does not run, which would be 503."""
    chosen = settings(Tokens(), 1)
    rendered = render(chosen)
    connections = rendered["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    for route in connections["route_config"]["virtual_hosts"][0]["routes"]:
        route.pop("metadata", None)
    with envoy(chosen, tmp_path, rendered):
        answer = httpx.post(f"http://127.0.0.1:{chosen.listen_port}/auth/login", json={})
        assert (answer.status_code, error_of(answer)) == (500, (13, "INTERNAL"))
        assert answer.headers["x-request-id"]
        until(lambda: "could not be checked" in (tmp_path / "stderr").read_text())
