"""What every network keeps, held against the one in memory and against TrafficEngine's sandbox over HTTP."""

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
from adsandbox.traffic_engine import traffic_engine_sandbox
from adtesting import eventually
from campaign_service.campaigns.model import Campaign
from campaign_service.deadlines import within
from campaign_service.delivery.network import FakeNetwork, Network, NetworkRejected, NetworkUnavailable
from campaign_service.delivery.traffic_engine import TrafficEngine
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


class Steered(Protocol):
    """A network that a test can make serve and fail."""

    network: Network

    def serve(self, external_id: str, day: date, zone_id: str, figures: Figures) -> None:
        """Adds traffic that costs what the figures say at 2.500001 a thousand impressions."""

    def trouble(self, kind: str) -> None:
        """Makes it refuse, be away or lose its answers."""


class SteeredFake:
    def __init__(self) -> None:
        self.network = FakeNetwork()

    def serve(self, external_id: str, day: date, zone_id: str, figures: Figures) -> None:
        self.network.report(external_id, day, zone_id, figures)

    def trouble(self, kind: str) -> None:
        self.network.refuses = "it was asked to" if kind == "refuses" else ""
        self.network.is_down = kind == "down"
        self.network.loses_answers = kind == "loses answers"


class SteeredSandbox:
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

    def trouble(self, kind: str) -> None:
        self.http.put("/sandbox/behaviour", json=self.behaviours[kind]).raise_for_status()

    def close(self) -> None:
        self.http.delete("/sandbox/behaviour").raise_for_status()
        self.http.close()
        self.network.close()


@contextmanager
def served(app: Callable[[], Starlette]) -> Iterator[str]:
    """The application on a free port, made in the thread that serves it."""
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
    settings = Settings(0, 0, 0, 0, 0, folder, "", "", "", TOKEN, "", 0, b"")
    with served(lambda: traffic_engine_sandbox(settings).app) as url:
        yield url


@pytest.fixture(params=["fake", "sandbox"])
def steered(request: pytest.FixtureRequest) -> Iterator[Steered]:
    if request.param == "fake":
        yield SteeredFake()
        return
    sandbox = SteeredSandbox(request.getfixturevalue("sandbox_url"))
    yield sandbox
    sandbox.close()


@pytest.fixture
def sandbox(sandbox_url: str) -> Iterator[SteeredSandbox]:
    made = SteeredSandbox(sandbox_url)
    yield made
    made.close()


def made(steered: Steered) -> tuple[str, str]:
    """A new campaign's name and id there."""
    name = f"Spring [{uuid4()}]"
    return name, steered.network.create(name, campaign())


def test_a_campaign_is_found_by_exactly_its_name(steered: Steered) -> None:
    name, external_id = made(steered)
    assert steered.network.find(name) == external_id
    assert steered.network.find(name[:-1]) is None
    assert steered.network.find("ä & [b] %41?") is None


def test_a_name_of_any_characters_is_found_again(steered: Steered) -> None:
    name = f"Frühling & 100 % + «x» ' \" ? # [{uuid4()}]"
    external_id = steered.network.create(name, campaign())
    assert steered.network.find(name) == external_id


def test_playing_and_stopping_may_be_repeated(steered: Steered) -> None:
    _, external_id = made(steered)
    for verb in (steered.network.play, steered.network.stop, steered.network.play):
        verb(external_id)
        verb(external_id)
    # Only what plays can be served.
    served = Figures(1000, 50, 5, 2_500_001)
    steered.serve(external_id, TODAY, "", served)
    assert steered.network.statistics([external_id], TODAY, TODAY)[external_id] == {(TODAY, ""): served}


def test_an_unknown_campaign_is_refused(steered: Steered) -> None:
    with pytest.raises(NetworkRejected):
        steered.network.play("999999")
    with pytest.raises(NetworkRejected):
        steered.network.stop("999999")
    with pytest.raises(NetworkRejected):
        steered.network.set_budget("999999", 1)
    with pytest.raises(NetworkRejected):
        steered.network.budget_micros("999999")


def test_statistics_are_by_day_and_zone_and_to_the_micro(steered: Steered) -> None:
    (_, first), (_, second), (_, idle) = made(steered), made(steered), made(steered)
    zone, yesterday = str(uuid4()), TODAY - timedelta(days=1)
    served = {
        (first, TODAY, ""): Figures(1000, 50, 5, 2_500_001),
        (first, TODAY, zone): Figures(2000, 1, 0, 5_000_002),
        (first, yesterday, zone): Figures(4000, 0, 0, 10_000_004),
        (second, TODAY, zone): Figures(3000, 2, 1, 7_500_003),
    }
    for id in (first, second):
        steered.network.play(id)
    for (id, day, zone_id), figures in served.items():
        steered.serve(id, day, zone_id, figures)
    steered.serve(first, TODAY - timedelta(days=3), "", Figures(1000, 0, 0, 2_500_001))
    read = steered.network.statistics([first, second, idle], TODAY - timedelta(days=2), TODAY)
    found = {(id, *slot): figures for id, slots in read.items() for slot, figures in slots.items()}
    assert found == served
    assert {slot[0] for slot in steered.network.statistics([first], yesterday, yesterday)[first]} == {yesterday}


def test_a_refusal_is_told_from_an_absence(steered: Steered) -> None:
    name, external_id = made(steered)
    steered.trouble("refuses")
    for call in changes(steered.network, external_id):
        with pytest.raises(NetworkRejected):
            call()
    steered.trouble("down")
    for call in (
        *changes(steered.network, external_id),
        lambda: steered.network.find(name),
        lambda: steered.network.statistics([external_id], TODAY, TODAY),
    ):
        with pytest.raises(NetworkUnavailable, match="try again"):
            call()


def changes(network: Network, external_id: str) -> list[Callable[[], object]]:
    """The calls that change something there."""
    return [
        lambda: network.create("new", campaign()),
        lambda: network.play(external_id),
        lambda: network.stop(external_id),
        lambda: network.set_budget(external_id, 1),
    ]


def test_what_was_done_though_the_answer_was_lost_is_found(steered: Steered) -> None:
    name = f"Spring [{uuid4()}]"
    steered.trouble("loses answers")
    with pytest.raises(NetworkUnavailable):
        steered.network.create(name, campaign())
    if isinstance(steered, SteeredSandbox):
        steered.http.delete("/sandbox/behaviour").raise_for_status()
    else:
        steered.trouble("none")
    assert steered.network.find(name)


def test_a_budget_is_changed_to_the_micro_and_nothing_else(sandbox: SteeredSandbox) -> None:
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


def test_the_whole_order_reaches_traffic_engine(sandbox: SteeredSandbox) -> None:
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
    kept = answer.json(parse_float=str)["result"]
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
    assert {name: kept[name] for name in expected} == expected


def test_a_page_is_not_all_of_the_statistics(sandbox: SteeredSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    # A constant of the code, made small: 1,001 rows would take minutes to make.
    monkeypatch.setattr("campaign_service.delivery.traffic_engine._PAGE_SIZE", 2)
    _, external_id = made(sandbox)
    sandbox.network.play(external_id)
    zones = {f"zone-{number}" for number in range(5)}
    for zone in zones:
        sandbox.serve(external_id, TODAY, zone, Figures(impressions=1))
    read = sandbox.network.statistics([external_id], TODAY, TODAY)[external_id]
    assert {zone for _, zone in read} == zones


@pytest.mark.parametrize("kind", ["limits", "slow"])
def test_what_may_be_over_at_the_next_try_is_an_absence(sandbox: SteeredSandbox, kind: str) -> None:
    sandbox.trouble(kind)
    started = time.monotonic()
    with within(0.3), pytest.raises(NetworkUnavailable):
        sandbox.network.create("slow", campaign())
    assert time.monotonic() - started < 2


def test_no_time_left_means_no_call(sandbox: SteeredSandbox) -> None:
    with within(-1), pytest.raises(NetworkUnavailable):
        sandbox.network.create("late", campaign())
    assert sandbox.network.find("late") is None


def test_our_own_wrong_token_is_not_the_campaigns_fault(sandbox_url: str) -> None:
    engine = TrafficEngine(sandbox_url, "wrong")
    with pytest.raises(NetworkUnavailable):
        engine.create("mine", campaign())
    engine.close()


def test_the_networks_own_words_are_passed_on(sandbox: SteeredSandbox) -> None:
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
def test_an_answer_of_another_shape_is_as_good_as_none(row: dict[str, Any]) -> None:
    async def answer(_: Request) -> JSONResponse:
        return JSONResponse({"result": [row], "meta": {"total_items": 1}})

    def app() -> Starlette:
        return Starlette(routes=[Route("/v5/adv/statistics", answer, methods=["POST"])])

    with served(app) as url:
        engine = TrafficEngine(url, TOKEN)
        with pytest.raises(NetworkUnavailable):
            engine.statistics(["1"], date(2030, 1, 1), date(2030, 1, 1))
        engine.close()


def test_nobody_there_is_an_absence() -> None:
    engine = TrafficEngine("http://127.0.0.1:1", TOKEN)
    with pytest.raises(NetworkUnavailable):
        engine.find("any")
    engine.close()
