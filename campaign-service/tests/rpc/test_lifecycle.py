"""Starting and pausing over gRPC, with failures of the ledger and the network."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import grpc
import pytest
from adplatform.campaign.v1 import campaign_pb2 as pb

from adlib.clock import timestamp

Client = Any  # conftest's, which cannot be imported
Refused = Callable[[], AbstractContextManager[Any]]
BUDGET = 100_000_000


@pytest.fixture
def database_url(shared_database_url: str) -> str:
    return shared_database_url


def wallet(client: Client) -> tuple[int, int]:
    """The available and the held micros; the wallet has 1000.00 at first."""
    payments = client.outside.payments
    return payments.available_micros, sum(payments.held_micros.values())


def test_start_holds_the_budget_and_plays(client: Client) -> None:
    campaign = client.create()
    started = client.start(campaign.id)
    assert (started.state, list(started.state_reasons)) == (pb.Campaign.ACTIVE, [])
    assert wallet(client) == (900_000_000, BUDGET)
    at_network = client.outside.network.campaigns[client.external_id(campaign.id)]
    assert (at_network.is_playing, at_network.name) == (True, f"Spring [{campaign.id}]")
    assert at_network.campaign.target_url == campaign.target_url
    assert client.start(campaign.id) == started
    assert wallet(client) == (900_000_000, BUDGET)


def test_start_without_funds_changes_nothing(client: Client, refused: Refused) -> None:
    client.outside.payments.available_micros = BUDGET - 1
    campaign = client.create()
    with refused() as refusal:
        client.start(campaign.id)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_FUNDS")
    assert refusal.metadata["requiredMicros"] == str(BUDGET)
    assert client.outside.network.campaigns == {}
    assert client.get(campaign.id).state == pb.Campaign.DRAFT
    # It is an ordinary draft again, so its budget can be lowered.
    client.update(campaign.id, budget_micros=BUDGET - 1)
    assert client.start(campaign.id).state == pb.Campaign.ACTIVE
    assert wallet(client) == (0, BUDGET - 1)


@pytest.mark.parametrize("where", ["hold lost", "payment down", "network down", "network loses answers"])
def test_interrupted_start_is_resumed(client: Client, refused: Refused, where: str) -> None:
    campaign, outside = client.create(), client.outside
    system = outside.payments if where in ("hold lost", "payment down") else outside.network
    trouble = "is_down" if where.endswith("down") else "loses_answers"
    setattr(system, trouble, True)
    for _ in range(2):
        with refused() as refusal:
            client.start(campaign.id)
        assert refusal.code is grpc.StatusCode.UNAVAILABLE
        assert "try again" in refusal.message
        assert client.get(campaign.id).state == pb.Campaign.DRAFT
    with refused() as refusal:
        client.update(campaign.id, budget_micros=1)
    assert refusal.reason == "CAMPAIGN_FIELD_LOCKED"
    client.update(campaign.id, name="Renamed")
    setattr(system, trouble, False)
    assert client.start(campaign.id).state == pb.Campaign.ACTIVE
    assert wallet(client) == (900_000_000, BUDGET)
    assert outside.network.campaigns[client.external_id(campaign.id)].is_playing


def test_start_that_a_network_rejects_releases_the_hold(client: Client, refused: Refused) -> None:
    campaign = client.create()
    client.outside.network.refuses = "the url is forbidden"
    with refused() as refusal:
        client.start(campaign.id)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NETWORK_REJECTED")
    assert (refusal.metadata["network"], "the url is forbidden" in refusal.message) == ("TRAFFIC_ENGINE", True)
    assert client.get(campaign.id).state == pb.Campaign.DRAFT
    assert wallet(client) == (1_000_000_000, 0)
    client.outside.network.refuses = ""
    client.update(campaign.id, budget_micros=2 * BUDGET)
    assert client.start(campaign.id).state == pb.Campaign.ACTIVE
    assert wallet(client) == (800_000_000, 2 * BUDGET)


def test_hold_being_released_is_not_used_to_start(client: Client, refused: Refused) -> None:
    campaign, outside = client.create(), client.outside

    def refuse_and_break() -> None:
        outside.payments.loses_answers = True

    outside.network.refuses = "no"
    outside.network.on_refusal = refuse_and_break
    with refused() as refusal:
        client.start(campaign.id)
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert wallet(client) == (1_000_000_000, 0), "given back, but the answer was lost"
    outside.payments.loses_answers, outside.network.refuses = False, ""
    assert client.start(campaign.id).state == pb.Campaign.ACTIVE
    assert wallet(client) == (900_000_000, BUDGET), "held anew, by another key"


def test_concurrent_starts_create_one_hold_and_one_campaign(client: Client, refused: Refused) -> None:
    campaign, outside = client.create(), client.outside
    entered, leave = threading.Event(), threading.Event()
    find = outside.network.find

    def slow_find(name: str) -> str | None:
        entered.set()
        assert leave.wait(5)
        return find(name)

    outside.network.find = slow_find
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.start, campaign.id)
        assert entered.wait(5)
        try:
            for verb in (client.start, client.pause):
                with refused() as refusal:
                    verb(campaign.id)
                assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "CONFLICT")
        finally:
            leave.set()
        assert first.result(5).state == pb.Campaign.ACTIVE
    assert wallet(client) == (900_000_000, BUDGET)
    assert len(outside.network.campaigns) == 1


def test_many_concurrent_starts_are_consistent(client: Client) -> None:
    campaign = client.create()

    def start(_: int) -> str:
        try:
            return pb.Campaign.State.Name(client.start(campaign.id).state)
        except grpc.RpcError as error:
            return error.code().name

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(start, range(24)))
    assert "ACTIVE" in answers
    assert answers <= {"ACTIVE", "ABORTED"}
    assert wallet(client) == (900_000_000, BUDGET)
    assert len(client.outside.network.campaigns) == 1


def test_pause_stops_the_network_and_keeps_the_hold(client: Client) -> None:
    campaign = client.start(client.create().id)
    paused = client.pause(campaign.id)
    assert (paused.state, list(paused.state_reasons)) == (pb.Campaign.PAUSED, [pb.Campaign.USER])
    at_network = client.outside.network.campaigns[client.external_id(campaign.id)]
    assert not at_network.is_playing
    assert client.pause(campaign.id) == paused
    resumed = client.start(campaign.id)
    assert (resumed.state, list(resumed.state_reasons), at_network.is_playing) == (pb.Campaign.ACTIVE, [], True)
    assert wallet(client) == (900_000_000, BUDGET)


def test_pause_fails_while_the_network_is_down(client: Client, refused: Refused) -> None:
    campaign = client.start(client.create().id)
    client.outside.network.is_down = True
    with refused() as refusal:
        client.pause(campaign.id)
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert client.get(campaign.id).state == pb.Campaign.ACTIVE


def test_draft_cannot_be_paused(client: Client, refused: Refused) -> None:
    with refused() as refusal:
        client.pause(client.create().id)
    assert (refusal.reason, refusal.metadata["state"]) == ("CAMPAIGN_STATE_INVALID", "DRAFT")


def test_ended_campaign_cannot_be_started_and_has_no_hold(client: Client, refused: Refused) -> None:
    end = client.outside.clock.now() + timedelta(hours=1)
    campaign = client.create(end_time=timestamp(end))
    client.outside.network.loses_answers = True
    with refused():
        client.start(campaign.id)
    client.outside.network.loses_answers = False
    assert wallet(client)[1] == BUDGET
    client.outside.clock.at = end
    with refused() as refusal:
        client.start(campaign.id)
    assert refusal.reason == "CAMPAIGN_ENDED"
    assert wallet(client) == (1_000_000_000, 0)


def test_campaign_before_its_start_time_is_active_and_not_started_yet(client: Client) -> None:
    start = client.outside.clock.now() + timedelta(days=1)
    campaign = client.start(client.create(start_time=timestamp(start)).id)
    assert (campaign.state, list(campaign.state_reasons)) == (pb.Campaign.ACTIVE, [pb.Campaign.NOT_STARTED_YET])
    assert client.outside.network.campaigns[client.external_id(campaign.id)].campaign.start_time == start
    client.outside.clock.at = start
    assert list(client.get(campaign.id).state_reasons) == []
