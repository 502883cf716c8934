"""The contract of a network, for every implementation: the fake, and each network against its sandbox over HTTP."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from adsandbox.settings import Settings
from adsandbox.traffic_engine.sandbox import build as traffic_engine_sandbox
from adtesting import eventually
from adtesting.campaign import FakeNetwork
from campaign_service.campaigns.model import Campaign
from campaign_service.deadlines import time_limit
from campaign_service.networks import KNOWN
from campaign_service.networks.protocol import Network, NetworkRejected, NetworkUnavailable
from campaign_service.networks.traffic_engine.client import TrafficEngine
from campaign_service.stats.model import Figures

TOKEN = "token-of-the-tests"
TODAY = datetime.now(UTC).date()


def campaign(**changes: Any) -> Campaign:
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "id": uuid4(),
        "organization_id": uuid4(),
        "name": "Spring",
        "budget_micros": 100_000_000,
        "currency_code": "USD",
        "target_url": "https://shop.example.com/spring?a=b",
        "bid_model": "CPM",
        "price_micros": 2_500_001,
        "networks": ("TRAFFIC_ENGINE",),
        "created_at": now,
        "updated_at": now,
    }
    return Campaign(**{**fields, **changes})


class Controlled(Protocol):
    """A network whose traffic and failures a test controls."""

    network: Network

    def serve(self, external_id: str, day: date, zone_id: str, figures: Figures) -> None:
        """Adds traffic; its cost in the figures is at a CPM of 2.500001."""

    def fail(self, kind: str) -> None:
        """Makes it refuse calls, stop answering or lose its answers."""


class ControlledFake:
    def __init__(self) -> None:
        self.network = FakeNetwork()

    def serve(self, external_id: str, day: date, zone_id: str, figures: Figures) -> None:
        self.network.report(external_id, day, zone_id, figures)

    def fail(self, kind: str) -> None:
        self.network.refuses = "the test says so" if kind == "refuses" else ""
        self.network.is_down = kind == "down"
        self.network.loses_answers = kind == "loses answers"


class ControlledSandbox:
    behaviours = {
        "refuses": {"fail_rate": 1, "status": 422},
        "down": {"fail_rate": 1, "status": 503},
        "loses answers": {"fail_rate": 1, "status": 500, "lose_answers": True},
        "limits": {"fail_rate": 1, "status": 429},
        "slow": {"delay_ms": 900},
    }

    def __init__(self, url: str) -> None:
        self.network = TrafficEngine(url, TOKEN)
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False)

    def serve(self, external_id: str, day: date, zone_id: str, figures: Figures) -> None:
        body = {
            "campaign_id": int(external_id), "day": day.isoformat(), "zone_id": zone_id,
            "impressions": figures.impressions, "clicks": figures.clicks, "conversions": figures.conversions,
        }  # fmt: skip
        self.http.post("/sandbox/traffic", json=body).raise_for_status()

    def fail(self, kind: str) -> None:
        self.http.put("/sandbox/behaviour", json=self.behaviours[kind]).raise_for_status()

    def close(self) -> None:
        self.http.delete("/sandbox/behaviour").raise_for_status()
        self.http.close()
        self.network.close()


@contextmanager
def served(app: Callable[[], Starlette]) -> Iterator[str]:
    """Serves the application on a free port; it is created in the serving thread."""
    server = uvicorn.Server(uvicorn.Config(app, factory=True, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def sandbox_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("sandbox")
    environment = {"SANDBOX_STATE_DIR": str(folder), "TRAFFIC_ENGINE_SANDBOX_PORT": "0", "TRAFFIC_ENGINE_TOKEN": TOKEN}
    settings = Settings(environment)
    with served(lambda: traffic_engine_sandbox(settings).app) as url:
        yield url


# How each network's sandbox is controlled. A network without an entry fails the contract tests.
SANDBOXES = {"TRAFFIC_ENGINE": (ControlledSandbox, "sandbox_url")}


@pytest.fixture(params=["fake", *KNOWN])
def controlled(request: pytest.FixtureRequest) -> Iterator[Controlled]:
    if request.param == "fake":
        yield ControlledFake()
        return
    make, url = SANDBOXES[request.param]
    sandbox = make(request.getfixturevalue(url))
    yield sandbox
    sandbox.close()


@pytest.fixture
def sandbox(sandbox_url: str) -> Iterator[ControlledSandbox]:
    made = ControlledSandbox(sandbox_url)
    yield made
    made.close()


def made(controlled: Controlled) -> tuple[str, str]:
    """The name and id of a new campaign at the network."""
    name = f"Spring [{uuid4()}]"
    return name, controlled.network.create(name, campaign())


def test_find_matches_the_exact_name(controlled: Controlled) -> None:
    name, external_id = made(controlled)
    assert controlled.network.find(name) == external_id
    assert controlled.network.find(name[:-1]) is None
    assert controlled.network.find("ä & [b] %41?") is None


def test_find_matches_names_with_special_characters(controlled: Controlled) -> None:
    name = f"Frühling & 100 % + «x» ' \" ? # [{uuid4()}]"
    external_id = controlled.network.create(name, campaign())
    assert controlled.network.find(name) == external_id


def test_play_and_stop_are_idempotent(controlled: Controlled) -> None:
    _, external_id = made(controlled)
    for verb in (controlled.network.play, controlled.network.stop, controlled.network.play):
        verb(external_id)
        verb(external_id)
    # The sandbox accepts traffic only for playing campaigns.
    served = Figures(1000, 50, 5, 2_500_001)
    controlled.serve(external_id, TODAY, "", served)
    assert controlled.network.statistics([external_id], TODAY, TODAY)[external_id] == {(TODAY, ""): served}


def test_unknown_campaign_is_rejected(controlled: Controlled) -> None:
    with pytest.raises(NetworkRejected):
        controlled.network.play("999999")
    with pytest.raises(NetworkRejected):
        controlled.network.stop("999999")
    with pytest.raises(NetworkRejected):
        controlled.network.set_budget("999999", 1)
    with pytest.raises(NetworkRejected):
        controlled.network.budget_micros("999999")


def test_statistics_are_exact_by_day_and_zone(controlled: Controlled) -> None:
    (_, first), (_, second), (_, idle) = made(controlled), made(controlled), made(controlled)
    zone, yesterday = str(uuid4()), TODAY - timedelta(days=1)
    served = {
        (first, TODAY, ""): Figures(1000, 50, 5, 2_500_001),
        (first, TODAY, zone): Figures(2000, 1, 0, 5_000_002),
        (first, yesterday, zone): Figures(4000, 0, 0, 10_000_004),
        (second, TODAY, zone): Figures(3000, 2, 1, 7_500_003),
    }
    for id in (first, second):
        controlled.network.play(id)
    for (id, day, zone_id), figures in served.items():
        controlled.serve(id, day, zone_id, figures)
    controlled.serve(first, TODAY - timedelta(days=3), "", Figures(1000, 0, 0, 2_500_001))
    read = controlled.network.statistics([first, second, idle], TODAY - timedelta(days=2), TODAY)
    found = {(id, *slot): figures for id, slots in read.items() for slot, figures in slots.items()}
    assert found == served
    assert {slot[0] for slot in controlled.network.statistics([first], yesterday, yesterday)[first]} == {yesterday}


def test_rejection_and_outage_raise_different_errors(controlled: Controlled) -> None:
    name, external_id = made(controlled)
    controlled.fail("refuses")
    for call in changes(controlled.network, external_id):
        with pytest.raises(NetworkRejected):
            call()
    controlled.fail("down")
    for call in (
        *changes(controlled.network, external_id),
        lambda: controlled.network.find(name),
        lambda: controlled.network.statistics([external_id], TODAY, TODAY),
    ):
        with pytest.raises(NetworkUnavailable, match="try again"):
            call()


def changes(network: Network, external_id: str) -> list[Callable[[], object]]:
    """The calls that change something at the network."""
    return [
        lambda: network.create("new", campaign()),
        lambda: network.play(external_id),
        lambda: network.stop(external_id),
        lambda: network.set_budget(external_id, 1),
    ]


def test_campaign_created_by_an_unanswered_call_is_found(controlled: Controlled) -> None:
    name = f"Spring [{uuid4()}]"
    controlled.fail("loses answers")
    with pytest.raises(NetworkUnavailable):
        controlled.network.create(name, campaign())
    if isinstance(controlled, ControlledSandbox):
        controlled.http.delete("/sandbox/behaviour").raise_for_status()
    else:
        controlled.fail("none")
    assert controlled.network.find(name)


def test_set_budget_changes_only_the_budget_exactly(sandbox: ControlledSandbox) -> None:
    _, external_id = made(sandbox)

    def order() -> Any:
        return sandbox.http.get(f"/v5/adv/campaigns/{external_id}").json()["result"]

    before = order()
    for _ in range(2):
        sandbox.network.set_budget(external_id, 999_999_999_999_999)
        assert order() == before | {"total_amount": 999_999_999.999999}
        assert sandbox.network.budget_micros(external_id) == 999_999_999_999_999
    sandbox.network.play(external_id)
    sandbox.network.set_budget(external_id, 1)
    assert (order()["total_amount"], order()["status"]) == (0.000001, 6)


def test_create_sends_every_field_to_traffic_engine(sandbox: ControlledSandbox) -> None:
    start = datetime(2031, 2, 3, 4, 5, tzinfo=UTC)
    external_id = sandbox.network.create(
        "whole",
        campaign(
            budget_micros=999_999_999_999_999,
            daily_budget_micros=1,
            price_micros=999_999_999_999,
            bid_model="CPA",
            countries=("DE", "AT"),
            devices=("MOBILE",),
            start_time=start,
            end_time=start + timedelta(days=1),
        ),
    )
    answer = sandbox.http.get(f"/v5/adv/campaigns/{external_id}")
    stored = answer.json(parse_float=str)["result"]
    expected = {
        "name": "whole",
        "direction": "onclick",
        "rate_model": "cpa",
        "target_url": "https://shop.example.com/spring?a=b",
        "currency": "USD",
        "total_amount": "999999999.999999",
        "daily_amount": "1e-06",
        "started_at": "2031-02-03T04:05:00+00:00",
        "expired_at": "2031-02-04T04:05:00+00:00",
        "rates": [{"countries": ["DE", "AT"], "amount": "999999.999999"}],
        "targeting": {
            "country": {"list": ["DE", "AT"], "is_excluded": False},
            "device_type": {"list": ["mobile"], "is_excluded": False},
        },
    }
    assert {name: stored[name] for name in expected} == expected


def test_statistics_read_every_page(sandbox: ControlledSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    # Lowers a constant: 1,001 rows would take minutes to create.
    monkeypatch.setattr("campaign_service.networks.traffic_engine.client._PAGE_SIZE", 2)
    _, external_id = made(sandbox)
    sandbox.network.play(external_id)
    zones = {f"zone-{number}" for number in range(5)}
    for zone in zones:
        sandbox.serve(external_id, TODAY, zone, Figures(impressions=1))
    read = sandbox.network.statistics([external_id], TODAY, TODAY)[external_id]
    assert {zone for _, zone in read} == zones


@pytest.mark.parametrize("kind", ["limits", "slow"])
def test_transient_errors_are_unavailable(sandbox: ControlledSandbox, kind: str) -> None:
    sandbox.fail(kind)
    started = time.monotonic()
    with time_limit(0.3), pytest.raises(NetworkUnavailable):
        sandbox.network.create("slow", campaign())
    assert time.monotonic() - started < 2


def test_no_call_is_made_after_the_deadline(sandbox: ControlledSandbox) -> None:
    with time_limit(-1), pytest.raises(NetworkUnavailable):
        sandbox.network.create("late", campaign())
    assert sandbox.network.find("late") is None


def test_wrong_token_is_unavailable_not_rejected(sandbox_url: str) -> None:
    engine = TrafficEngine(sandbox_url, "wrong")
    with pytest.raises(NetworkUnavailable):
        engine.create("mine", campaign())
    engine.close()


def test_rejection_includes_the_networks_message(sandbox: ControlledSandbox) -> None:
    with pytest.raises(NetworkRejected, match="currency must be USD"):
        sandbox.network.create("euros", campaign(currency_code="EUR"))


ROW = {
    "campaign_id": 1, "day": "2030-01-01", "zone_id": "", "impressions": 1, "clicks": 1, "conversions": 1, "money": "1",
}  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [
        {},
        ROW | {"day": "yesterday"},
        ROW | {"money": "NaN"},
        ROW | {"money": "x"},
        ROW | {"impressions": -1},
        ROW | {"campaign_id": 2},
    ],
)
def test_malformed_response_is_unavailable(row: dict[str, Any]) -> None:
    async def answer(_: Request) -> JSONResponse:
        return JSONResponse({"result": [row], "meta": {"total_items": 1}})

    def app() -> Starlette:
        return Starlette(routes=[Route("/v5/adv/statistics", answer, methods=["POST"])])

    with served(app) as url:
        engine = TrafficEngine(url, TOKEN)
        with pytest.raises(NetworkUnavailable):
            engine.statistics(["1"], date(2030, 1, 1), date(2030, 1, 1))
        engine.close()


def test_refused_connection_is_unavailable() -> None:
    engine = TrafficEngine("http://127.0.0.1:1", TOKEN)
    with pytest.raises(NetworkUnavailable):
        engine.find("any")
    engine.close()
