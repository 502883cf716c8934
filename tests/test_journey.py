"""The main story, through the gateway, on the real servers: what `make demo` shows."""

import pytest

from adctl.journey import Journey
from adctl.state import State

pytestmark = pytest.mark.xdist_group("platform")


def test_an_advertisers_money_becomes_a_publishers(platform: State) -> None:
    journey = Journey(platform)
    came_back = [step.run() for step in journey.steps()]
    assert all(came_back)
