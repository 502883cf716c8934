"""What campaigns spend, through the gateway: no traffic is free, and no stolen card is paid out."""

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from adctl.client import Refused
from adctl.journey import Journey
from adctl.state import State
from adtesting import eventually

from .conftest import adctl

pytestmark = pytest.mark.xdist_group("platform")

UNIT = 1_000_000
CPM = 5


@pytest.fixture
def outside() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=20, trust_env=False) as http:
        yield http


class Story:
    """An advertiser and an approved publisher with a zone."""

    def __init__(self, platform: State, outside: httpx.Client) -> None:
        self.platform = platform
        self.outside = outside
        self.journey = Journey(platform)
        self.journey.sign_up()
        self.journey.approve_publisher()
        self.advertiser = self.journey.advertiser

    def pay(self, units: int) -> str:
        asked = {"amountMicros": str(units * UNIT), "currencyCode": "USD", "provider": "STRIPE"}
        payment_id: str = self.advertiser.post("/payments/create", asked)["payment"]["id"]
        self.does("stripe-sandbox", "/sandbox/pay", payment_id=payment_id)
        eventually(lambda: self.advertiser.get(f"/payments/{payment_id}")["state"] == "SUCCEEDED", within_s=20)
        return payment_id

    def start(self, budget_units: int) -> str:
        """The path of a campaign that is ACTIVE."""
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
        """The network shows ads in the publisher's zone; the platform has not read it."""
        with psycopg.connect(self.platform.database_url("campaign-service"), autocommit=True) as sql:
            found = sql.execute(
                "SELECT external_id FROM campaign_networks WHERE campaign_id = %s", [path.removeprefix("/campaigns/")]
            ).fetchone()
        assert found is not None
        shown = {"campaign_id": int(found[0]), "zone_id": self.journey.zone_id, "impressions": units * 1000 // CPM}
        self.does("traffic-engine-sandbox", "/sandbox/traffic", **shown, clicks=0, conversions=0)

    def does(self, sandbox: str, path: str, **body: Any) -> None:
        answer = self.outside.post(f"{self.platform.url(sandbox)}{path}", json=body)
        assert answer.is_success, answer.text

    def sync(self) -> None:
        adctl(self.platform.paths.home, "jobs", "run", "sync-stats")

    def balance(self) -> dict[str, int]:
        """In units: what is available, held, spent and owed."""
        balance = self.advertiser.get("/billing/balance")
        return {name: int(balance[f"{name}Micros"]) // UNIT for name in ("available", "held", "spent", "debt")}

    def earned(self) -> dict[str, int]:
        """In units: what the publisher has available and on hold."""
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
def story(platform: State, outside: httpx.Client) -> Iterator[Story]:
    yield Story(platform, outside)
    assert "USD: " in adctl(platform.paths.home, "ledger", "verify")


def test_a_lowered_budget_frees_nothing_that_was_delivered(story: Story) -> None:
    story.pay(80)
    path = story.start(80)
    story.deliver(path, 50)
    assert story.balance() == {"available": 0, "held": 80, "spent": 0, "debt": 0}
    with pytest.raises(Refused) as refused:
        story.advertiser.request("PATCH", path, json={"budgetMicros": str(UNIT)})
    assert (refused.value.status, refused.value.reason) == (400, "INVALID_FIELD")
    assert story.balance() == {"available": 0, "held": 30, "spent": 50, "debt": 0}
    assert story.earned() == {"available": 35, "onHold": 0}
    story.deliver(path, 10)
    lowered = story.advertiser.request("PATCH", path, json={"budgetMicros": str(70 * UNIT)})
    assert (lowered["budgetMicros"], lowered["state"]) == (str(70 * UNIT), "ACTIVE")
    assert story.balance() == {"available": 10, "held": 10, "spent": 60, "debt": 0}
    story.advertiser.post(f"{path}/pause")
    assert story.advertiser.request("DELETE", path) == {}
    story.sync()
    assert story.balance() == {"available": 10, "held": 10, "spent": 60, "debt": 0}
    assert story.earned() == {"available": 42, "onHold": 0}


def test_a_lost_dispute_stops_the_spending_and_nobody_is_paid_for_it_until_it_is_paid(story: Story) -> None:
    payment_id = story.pay(50)
    path = story.start(50)
    story.deliver(path, 40)
    story.does("stripe-sandbox", "/sandbox/dispute", payment_id=payment_id, outcome="lose")
    # 40 were delivered and are spent; the 10 that were not have paid a part of the debt.
    owed = {"available": 0, "held": 0, "spent": 40, "debt": 40}
    eventually(lambda: story.balance() == owed, within_s=20)
    campaign = story.advertiser.get(path)
    assert (campaign["state"], campaign["stateReasons"]) == ("PAUSED", ["PAYMENT_DISPUTED"])
    eventually(lambda: story.earned() == {"available": 0, "onHold": 28}, within_s=20)
    for verb, body in (("start", {}), ("", {"budgetMicros": str(60 * UNIT)})):
        with pytest.raises(Refused) as refused:
            if verb:
                story.advertiser.post(f"{path}/{verb}", body)
            else:
                story.advertiser.request("PATCH", path, json=body)
        assert (refused.value.status, refused.value.reason) == (400, "ORGANIZATION_IN_DEBT")
    with pytest.raises(Refused) as refused:
        story.payout(20)
    assert refused.value.reason == "INSUFFICIENT_FUNDS"
    story.sync()
    assert story.balance() == owed
    story.pay(50)
    eventually(lambda: story.earned() == {"available": 28, "onHold": 0}, within_s=20)
    assert story.balance() == {"available": 10, "held": 0, "spent": 40, "debt": 0}
    assert story.advertiser.get(path)["state"] == "PAUSED"
    assert story.advertiser.post(f"{path}/start")["state"] == "ACTIVE"
    assert story.balance() == {"available": 0, "held": 10, "spent": 40, "debt": 0}
    assert story.payout(28)
