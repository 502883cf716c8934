"""Servers of the running platform are killed or frozen; it reports that and recovers by itself."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import httpx
import psutil
import pytest

from adctl.client import Client, Refused
from adctl.platform.status import find
from adctl.state import State

pytestmark = pytest.mark.xdist_group("platform")


@pytest.fixture(scope="module")
def advertiser(platform: State) -> Client:
    client = Client(platform.gateway_url)
    email = f"{uuid4().hex}@example.com"
    client.sign_up(email=email, password="correct horse battery", name="Ada", organizationName="Acme")
    return client


def find_pid(platform: State, name: str) -> int | None:
    """None while it is not started."""
    running = find(platform.paths)
    assert running is not None
    (pid,) = [view.pid for view in running.snapshot.processes if view.name == name]
    return pid


def pid_of(platform: State, name: str) -> int:
    pid = find_pid(platform, name)
    assert pid is not None
    return pid


def until(what: str, probe: Callable[[], bool], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not probe():
        assert time.monotonic() < end, f"{what}: not within {within_s} s"
        time.sleep(0.05)


def works(call: Callable[[], object]) -> Callable[[], bool]:
    def probe() -> bool:
        try:
            call()
        except Refused as refused:
            if refused.status not in (503, 504) or set(refused.body) != {"code", "message", "details"}:
                raise
            return False
        return True

    return probe


def well(platform: State) -> bool:
    running = find(platform.paths)
    return running is not None and running.snapshot.is_healthy


def kill(platform: State, name: str) -> None:
    pid = pid_of(platform, name)
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=5)


def test_stopped_service_is_503_and_others_work(platform: State, advertiser: Client) -> None:
    until("the platform is up", lambda: well(platform))
    stopped = pid_of(platform, "payment-service")
    os.kill(stopped, signal.SIGSTOP)
    try:

        def is_unavailable() -> bool:
            try:
                advertiser.get("/billing/balance")
            except Refused as refused:
                return refused.status == 503 and refused.reason == "UNAVAILABLE"
            return False

        until("the balance is unavailable", is_unavailable)
        assert advertiser.get("/campaigns")["campaigns"] == []
    finally:
        os.kill(stopped, signal.SIGCONT)
    until("the balance is back", works(lambda: advertiser.get("/billing/balance")))


@contextmanager
def frozen(platform: State, name: str) -> Iterator[None]:
    """Suspends a process and its children: their connections stay open and are not answered."""
    parent = psutil.Process(pid_of(platform, name))
    processes = [parent, *parent.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def metric(platform: State, service: str, sample: str) -> float:
    text = httpx.get(platform.url(f"{service}-metrics") + "/metrics", timeout=5).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{sample} "))


def test_calls_succeed_while_valkey_is_frozen(platform: State, advertiser: Client) -> None:
    until("the platform is up", lambda: well(platform))
    refused, is_open = 'circuit_refused_total{name="redis"}', 'circuit_open{name="redis"}'
    advertiser.get("/billing/balance")
    before = metric(platform, "payment-service", refused)

    def is_circuit_refusing() -> bool:
        advertiser.get("/billing/balance")
        return metric(platform, "payment-service", refused) > before

    with frozen(platform, "valkey"):
        until("calls do not wait for Valkey", is_circuit_refusing)
        assert metric(platform, "payment-service", is_open) == 1

    def is_circuit_closed() -> bool:
        advertiser.get("/billing/balance")
        return metric(platform, "payment-service", is_open) == 0

    until("calls use Valkey again", is_circuit_closed)


@pytest.mark.parametrize("server", ["postgres", "auth-service"])
def test_frozen_server_fails_calls_within_their_deadline(platform: State, advertiser: Client, server: str) -> None:
    until("the platform is up", lambda: well(platform))
    until("the balance is there", works(lambda: advertiser.get("/billing/balance")))
    with frozen(platform, server):
        # The cached access of the caller expires after half a second.
        until("a call is refused", lambda: not works(lambda: advertiser.get("/billing/balance"))(), within_s=60)
    for path in ("/campaigns", "/billing/balance", "/auth/profile"):
        until(path, works(lambda path=path: advertiser.get(path)))
    until("the platform is up", lambda: well(platform))


def test_killed_service_is_restarted(platform: State, advertiser: Client) -> None:
    until("the platform is up", lambda: well(platform))
    before = pid_of(platform, "campaign-service")
    kill(platform, "campaign-service")
    until("a new process", lambda: find_pid(platform, "campaign-service") not in (None, before))
    until("the platform is up again", lambda: well(platform))
    until("campaigns are back", works(lambda: advertiser.get("/campaigns")))


@pytest.mark.parametrize("server", ["valkey", "postgres"])
def test_services_recover_after_a_server_is_killed(platform: State, advertiser: Client, server: str) -> None:
    kill(platform, server)
    until("the platform is up", lambda: well(platform))
    for path in ("/campaigns", "/billing/balance", "/pixels", "/auth/profile"):
        until(path, works(lambda path=path: advertiser.get(path)))
    assert advertiser.get("/auth/profile")["memberships"][0]["organizationId"] == advertiser.organization_id
