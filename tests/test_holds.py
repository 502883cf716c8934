"""A campaign's hold from start to deletion, through the gateway."""

import re
from typing import Any

import pytest

from adctl.client import Refused
from adctl.demo.journey import Journey
from adctl.state import State

from .conftest import adctl

pytestmark = pytest.mark.xdist_group("platform")

UNIT = 1_000_000


def test_hold_follows_the_budget_and_is_released_on_deletion(platform: State) -> None:
    journey = Journey(platform)
    journey.sign_up()
    journey.deposit()
    journey.start_campaign()
    path = f"/campaigns/{journey.campaign_id}"

    def budget(amount: int) -> Any:
        return journey.advertiser.request("PATCH", path, json={"budgetMicros": str(amount * UNIT)})

    assert _balance(journey) == (400, 100)
    assert budget(450)["budgetMicros"] == str(450 * UNIT)
    assert _balance(journey) == (50, 450)
    with pytest.raises(Refused) as refused:
        budget(501)
    assert (refused.value.reason, _balance(journey)) == ("INSUFFICIENT_FUNDS", (50, 450))
    assert budget(60)["budgetMicros"] == str(60 * UNIT)
    assert _balance(journey) == (440, 60)

    with pytest.raises(Refused) as refused:
        journey.advertiser.request("DELETE", path)
    assert refused.value.reason == "CAMPAIGN_STATE_INVALID"
    journey.advertiser.post(f"{path}/pause")
    assert _balance(journey) == (440, 60)
    swept = adctl(platform.paths.home, "jobs", "run", "sweep-holds")
    assert re.search(r"0 repaired; .*\b[1-9]\d* compared", swept), swept
    assert journey.advertiser.request("DELETE", path) == {}
    with pytest.raises(Refused) as refused:
        journey.advertiser.request("DELETE", path)
    assert refused.value.status == 404
    # The campaign delivered nothing, so its hold is released at once.
    assert _balance(journey) == (500, 0)
    adctl(platform.paths.home, "ledger", "verify")


def _balance(journey: Journey) -> tuple[int, int]:
    """Available and held, in units."""
    balance = journey.advertiser.get("/billing/balance")
    return int(balance["availableMicros"]) // UNIT, int(balance["heldMicros"]) // UNIT
