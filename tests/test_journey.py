"""The journey of `make demo`, through the gateway."""

from typing import Any

import pytest

from adctl.client import Client
from adctl.demo.journey import Journey
from adctl.state import State

from .conftest import adctl

pytestmark = pytest.mark.xdist_group("platform")


def test_advertiser_spend_is_paid_out_to_the_publisher(platform: State) -> None:
    journey = Journey(platform)
    results = [step.run() for step in journey.steps()]
    assert all(results)
    _assert_statement_adds_up_to_balance(journey)
    assert "USD: " in adctl(platform.paths.home, "ledger", "verify")


def _assert_statement_adds_up_to_balance(journey: Journey) -> None:
    lines = _statement(journey.advertiser)
    assert {line["kind"] for line in lines} == {"DEPOSIT", "HOLD", "SPEND"}
    assert {line["campaignId"] for line in lines if line["kind"] != "DEPOSIT"} == {journey.campaign_id}
    balance = journey.advertiser.get("/billing/balance")
    for figure in ("available", "held", "spent"):
        assert sum(int(line[f"{figure}DeltaMicros"]) for line in lines) == int(balance[f"{figure}Micros"]) > 0
    assert _statement(journey.publisher) == []


def _statement(client: Client) -> list[dict[str, Any]]:
    """The lines of all pages."""
    lines, token = [], ""
    while True:
        answer = client.get("/billing/statement", pageSize=2, pageToken=token)
        lines += answer["lines"]
        if not (token := answer["nextPageToken"]):
            return lines
