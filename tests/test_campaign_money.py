"""Campaign spend through the gateway: delivered traffic is charged, and disputed money is not paid out."""

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from adctl.client import Refused
from adctl.demo.journey import Journey
from adctl.state import State
from adtesting import eventually

from .conftest import adctl

pytestmark = pytest.mark.xdist_group("platform")

UNIT = 1_000_000
CPM = 5


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=20, trust_env=False) as http:
        yield http


class Scenario:
    """An advertiser and an approved publisher with a zone."""

    def __init__(self, platform: State, http: httpx.Client) -> None:
        self.platform = platform
        self.http = http
        self.journey = Journey(platform)
        self.journey.sign_up()
        self.journey.approve_publisher()
        self.advertiser = self.journey.advertiser

    def pay(self, units: int) -> str:
        asked = {"amountMicros": str(units * UNIT), "currencyCode": "USD", "provider": "STRIPE"}
        payment_id: str = self.advertiser.post("/payments/create", asked)["payment"]["id"]
        self.act("stripe-sandbox", "/sandbox/pay", payment_id=payment_id)
        eventually(lambda: self.advertiser.get(f"/payments/{payment_id}")["state"] == "SUCCEEDED", within_s=20)
        return payment_id

    def start(self, budget_units: int) -> str:
        """Starts a new campaign and returns its path."""
        campaign = self.advertiser.post(
            "/campaigns",
            {
                "name": "Spring",
                "budgetMicros": str(budget_units * UNIT),
                "targetUrl": "https://shop.example.com/",
                "bid": {"model": "CPM", "priceMicros": str(CPM * UNIT)},
            },
        )
        path = f"/campaigns/{campaign['id']}"
        assert self.advertiser.post(f"{path}/start")["state"] == "ACTIVE"
        return path

    def deliver(self, path: str, units: int) -> None:
        """Makes the network show ads in the publisher's zone, which the platform has not synced yet."""
        with psycopg.connect(self.platform.database_url("campaign-service"), autocommit=True) as sql:
            found = sql.execute(
                "SELECT external_id FROM campaign_networks WHERE campaign_id = %s", [path.removeprefix("/campaigns/")]
            ).fetchone()
        assert found is not None
        shown = {"campaign_id": int(found[0]), "zone_id": self.journey.zone_id, "impressions": units * 1000 // CPM}
        self.act("traffic-engine-sandbox", "/sandbox/traffic", **shown, clicks=0, conversions=0)

    def act(self, sandbox: str, path: str, **body: Any) -> None:
        answer = self.http.post(f"{self.platform.url(sandbox)}{path}", json=body)
        assert answer.is_success, answer.text

    def sync(self) -> None:
        adctl(self.platform.paths.home, "jobs", "run", "sync-stats")

    def balance(self) -> dict[str, int]:
        """The amounts available, held, spent and owed, in units."""
        balance = self.advertiser.get("/billing/balance")
        return {name: int(balance[f"{name}Micros"]) // UNIT for name in ("available", "held", "spent", "debt")}

    def earned(self) -> dict[str, int]:
        """The publisher's amounts available and on hold, in units."""
        (row,) = self.journey.publisher.get("/publishers/balances")["balances"]
        return {name: int(row[f"{name}Micros"]) // UNIT for name in ("available", "onHold")}

    def payout(self, units: int) -> str:
        asked = {
            "publisherId": self.journey.publisher_id,
            "amountMicros": str(units * UNIT),
            "currencyCode": "USD",
            "destination": {
                "accountHolderName": "Grace Hopper",
                "unitedStates": {"routingNumber": "021000021", "accountNumber": "123456789"},
            },
        }
        payout_id: str = self.journey.publisher.post("/publishers/payout", asked)["id"]
        return payout_id


@pytest.fixture
def scenario(platform: State, http: httpx.Client) -> Iterator[Scenario]:
    yield Scenario(platform, http)
    assert "USD: " in adctl(platform.paths.home, "ledger", "verify")


def test_lowered_budget_does_not_release_delivered_spend(scenario: Scenario) -> None:
    scenario.pay(80)
    path = scenario.start(80)
    scenario.deliver(path, 50)
    assert scenario.balance() == {"available": 0, "held": 80, "spent": 0, "debt": 0}
    with pytest.raises(Refused) as refused:
        scenario.advertiser.request("PATCH", path, json={"budgetMicros": str(UNIT)})
    assert (refused.value.status, refused.value.reason) == (400, "INVALID_FIELD")
    assert scenario.balance() == {"available": 0, "held": 30, "spent": 50, "debt": 0}
    assert scenario.earned() == {"available": 35, "onHold": 0}
    scenario.deliver(path, 10)
    lowered = scenario.advertiser.request("PATCH", path, json={"budgetMicros": str(70 * UNIT)})
    assert (lowered["budgetMicros"], lowered["state"]) == (str(70 * UNIT), "ACTIVE")
    assert scenario.balance() == {"available": 10, "held": 10, "spent": 60, "debt": 0}
    scenario.advertiser.post(f"{path}/pause")
    assert scenario.advertiser.request("DELETE", path) == {}
    scenario.sync()
    assert scenario.balance() == {"available": 10, "held": 10, "spent": 60, "debt": 0}
    assert scenario.earned() == {"available": 42, "onHold": 0}


def test_lost_dispute_pauses_campaigns_and_holds_earnings_until_the_debt_is_paid(scenario: Scenario) -> None:
    payment_id = scenario.pay(50)
    path = scenario.start(50)
    scenario.deliver(path, 40)
    scenario.act("stripe-sandbox", "/sandbox/dispute", payment_id=payment_id, outcome="lose")
    # 40 were delivered and are spent; the other 10 repaid a part of the debt.
    owed = {"available": 0, "held": 0, "spent": 40, "debt": 40}
    eventually(lambda: scenario.balance() == owed, within_s=20)
    campaign = scenario.advertiser.get(path)
    assert (campaign["state"], campaign["stateReasons"]) == ("PAUSED", ["PAYMENT_DISPUTED"])
    eventually(lambda: scenario.earned() == {"available": 0, "onHold": 28}, within_s=20)
    for verb, body in (("start", {}), ("", {"budgetMicros": str(60 * UNIT)})):
        with pytest.raises(Refused) as refused:
            if verb:
                scenario.advertiser.post(f"{path}/{verb}", body)
            else:
                scenario.advertiser.request("PATCH", path, json=body)
        assert (refused.value.status, refused.value.reason) == (400, "ORGANIZATION_IN_DEBT")
    with pytest.raises(Refused) as refused:
        scenario.payout(20)
    assert refused.value.reason == "INSUFFICIENT_FUNDS"
    scenario.sync()
    assert scenario.balance() == owed
    scenario.pay(50)
    eventually(lambda: scenario.earned() == {"available": 28, "onHold": 0}, within_s=20)
    assert scenario.balance() == {"available": 10, "held": 0, "spent": 40, "debt": 0}
    assert scenario.advertiser.get(path)["state"] == "PAUSED"
    assert scenario.advertiser.post(f"{path}/start")["state"] == "ACTIVE"
    assert scenario.balance() == {"available": 0, "held": 10, "spent": 40, "debt": 0}
    assert scenario.payout(28)
