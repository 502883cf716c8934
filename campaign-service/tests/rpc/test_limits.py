"""Releases only on figures that were read after the networks were limited."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.campaign.v1 import campaign_pb2 as pb
from structlog.testing import capture_logs

from adlib.clock import timestamp
from campaign_service.clients.publisher import Owner
from campaign_service.networks.protocol import NetworkUnavailable
from campaign_service.stats.model import Figures

Client = Any  # conftest's, which cannot be imported
Refused = Callable[[], AbstractContextManager[Any]]
UNIT = 1_000_000
BUDGET = 80 * UNIT
WALLET = 1_000 * UNIT
ZONE = uuid4()
OWNER = Owner(uuid4(), uuid4(), 7000)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


@pytest.fixture(autouse=True)
def _zone(client: Client) -> None:
    client.outside.publishers.known[ZONE] = OWNER


def active(client: Client, **changes: Any) -> str:
    return str(client.start(client.create(budget_micros=BUDGET, **changes).id).id)


def paused(client: Client) -> str:
    return str(client.pause(active(client)).id)


def delivers(client: Client, campaign_id: str, spend_micros: int, day: date = date(2030, 1, 15)) -> None:
    """Reports delivery at a CPM of 5 in a publisher's zone; the job has not read it yet."""
    figures = Figures(impressions=spend_micros // 5000, spend_micros=spend_micros)
    client.outside.network.report(client.external_id(campaign_id), day, str(ZONE), figures)


def held(client: Client, campaign_id: str) -> int:
    return int(client.outside.payments.held_micros.get(UUID(campaign_id), 0))


def posted_micros(client: Client, campaign_id: str) -> int:
    """The amount that the ledger has posted, all of it for the publisher's zone."""
    spends = [one for one in client.outside.payments.spends if one.campaign_id == UUID(campaign_id)]
    assert all(one.share is not None and one.share.publisher_id == OWNER.publisher_id for one in spends)
    return WALLET - client.outside.payments.available_micros - sum(client.outside.payments.held_micros.values())


def reason(client: Client, campaign_id: str) -> list[int]:
    return list(client.get(campaign_id).state_reasons)


@pytest.mark.parametrize("make", [active, paused])
def test_budget_below_delivery_is_refused_and_delivery_is_charged(client: Client, refused: Refused, make: Any) -> None:
    campaign_id = make(client)
    delivers(client, campaign_id, 50 * UNIT)
    with refused() as refusal:
        client.update(campaign_id, budget_micros=UNIT)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert refusal.metadata == {"leastMicros": str(50 * UNIT)}
    assert "50 USD has been spent" in refusal.message
    assert (client.get(campaign_id).budget_micros, held(client, campaign_id)) == (BUDGET, 30 * UNIT)
    assert client.outside.payments.available_micros == WALLET - BUDGET, "nothing is released"
    assert posted_micros(client, campaign_id) == client.stats(campaign_id).total.spent_micros == 50 * UNIT
    there = client.outside.network.campaigns[client.external_id(campaign_id)]
    assert there.budget_micros == BUDGET
    assert client.sync().success
    assert posted_micros(client, campaign_id) == 50 * UNIT


@pytest.mark.parametrize("make", [active, paused])
@pytest.mark.parametrize("budget", [50 * UNIT, 60 * UNIT])
def test_lower_budget_releases_the_difference_and_charges_delivery(client: Client, make: Any, budget: int) -> None:
    campaign_id = make(client)
    delivers(client, campaign_id, 50 * UNIT)
    answer = client.update(campaign_id, budget_micros=budget)
    assert answer.budget_micros == budget
    assert (held(client, campaign_id), posted_micros(client, campaign_id)) == (budget - 50 * UNIT, 50 * UNIT)
    assert client.outside.payments.available_micros == WALLET - budget
    assert client.get(campaign_id) == answer


def test_delivery_until_the_network_accepts_the_limit_is_charged(client: Client, refused: Refused) -> None:
    campaign_id, network = active(client), client.outside.network
    set_budget = network.set_budget

    def deliver_first(external_id: str, budget_micros: int) -> None:
        delivers(client, campaign_id, 50 * UNIT)
        set_budget(external_id, budget_micros)

    network.set_budget = deliver_first
    with refused() as refusal:
        client.update(campaign_id, budget_micros=40 * UNIT)
    assert refusal.metadata == {"leastMicros": str(50 * UNIT)}
    assert posted_micros(client, campaign_id) + held(client, campaign_id) == BUDGET


@pytest.mark.parametrize("call", ["set_budget", "statistics"])
def test_nothing_is_released_while_a_network_does_not_answer(client: Client, refused: Refused, call: str) -> None:
    campaign_id, network = active(client), client.outside.network
    delivers(client, campaign_id, 50 * UNIT)
    works = getattr(network, call)

    def goes_down(*arguments: Any) -> Any:
        network.is_down = True
        return works(*arguments)

    setattr(network, call, goes_down)
    with refused() as refusal:
        client.update(campaign_id, budget_micros=60 * UNIT)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    assert held(client, campaign_id) == BUDGET
    client.outside.clock.at += timedelta(minutes=2)
    assert not client.sync().success
    assert held(client, campaign_id) == BUDGET
    setattr(network, call, works)
    network.is_down = False
    client.outside.clock.at += timedelta(minutes=2)
    assert client.sync().success
    assert client.get(campaign_id).budget_micros == 60 * UNIT
    assert (held(client, campaign_id), posted_micros(client, campaign_id)) == (10 * UNIT, 50 * UNIT)


def test_decided_release_is_unaffected_by_delivery_above_the_limit(client: Client, refused: Refused) -> None:
    campaign_id, payments = active(client), client.outside.payments
    payments.loses_answers = True
    with refused():
        client.update(campaign_id, budget_micros=60 * UNIT)
    payments.loses_answers = False
    delivers(client, campaign_id, 70 * UNIT)
    client.outside.clock.at += timedelta(minutes=2)
    for _ in range(2):
        assert client.sync().success
    assert client.get(campaign_id).budget_micros == 60 * UNIT
    assert (held(client, campaign_id), posted_micros(client, campaign_id)) == (0, 60 * UNIT)
    assert reason(client, campaign_id) == [pb.Campaign.BUDGET_EXHAUSTED]


def test_delivery_during_a_rejected_raise_stays_held(client: Client, refused: Refused) -> None:
    campaign_id, network = active(client), client.outside.network
    set_budget = network.set_budget

    def accepts_delivers_and_refuses(external_id: str, budget_micros: int) -> None:
        set_budget(external_id, budget_micros)
        network.set_budget = set_budget
        delivers(client, campaign_id, 100 * UNIT)
        network.refuses = "the budget is odd"
        network.on_refusal = lambda: setattr(network, "refuses", "")
        network.stop(external_id)

    network.set_budget = accepts_delivers_and_refuses
    with refused() as refusal:
        client.update(campaign_id, budget_micros=150 * UNIT)
    assert refusal.reason == "NETWORK_REJECTED"
    assert client.get(campaign_id).budget_micros == 100 * UNIT, "the delivered part of the raise"
    assert client.outside.payments.available_micros == WALLET - 100 * UNIT
    for _ in range(2):
        assert client.sync().success
    assert (held(client, campaign_id), posted_micros(client, campaign_id)) == (0, 100 * UNIT)


def test_raise_that_a_network_keeps_stays_held(client: Client, refused: Refused) -> None:
    campaign_id, network = active(client), client.outside.network
    set_budget = network.set_budget

    def accepts_and_refuses_from_then_on(external_id: str, budget_micros: int) -> None:
        set_budget(external_id, budget_micros)
        network.refuses = "not any more"
        network.set_budget = set_budget
        set_budget(external_id, budget_micros)

    network.set_budget = accepts_and_refuses_from_then_on
    with refused() as refusal:
        client.update(campaign_id, budget_micros=150 * UNIT)
    assert refusal.reason == "NETWORK_REJECTED"
    assert held(client, campaign_id) == 150 * UNIT
    delivers(client, campaign_id, 120 * UNIT)
    network.refuses = ""
    client.outside.clock.at += timedelta(minutes=2)
    for _ in range(2):
        assert client.sync().success
    assert posted_micros(client, campaign_id) == 120 * UNIT
    assert client.outside.payments.available_micros == WALLET - 120 * UNIT


def ended(client: Client) -> str:
    end = client.outside.clock.now() + timedelta(hours=1)
    campaign_id = active(client, end_time=timestamp(end))
    client.outside.clock.at = end
    assert client.sync().success
    return campaign_id


def deleted(client: Client) -> str:
    campaign_id = paused(client)
    delivers(client, campaign_id, 1)
    client.delete(campaign_id)
    return campaign_id


@pytest.mark.parametrize("make", [ended, deleted])
def test_completed_campaigns_hold_is_released_only_after_networks_are_read(client: Client, make: Any) -> None:
    """The network is down after the end time, and later reports its delivery before that."""
    campaign_id, network = make(client), client.outside.network
    network.is_down = True
    delivers(client, campaign_id, 50 * UNIT)
    for _ in range(5):
        client.outside.clock.at += timedelta(days=1)
        client.sync()
        client.sweep()
    assert held(client, campaign_id) + posted_micros(client, campaign_id) == BUDGET
    network.is_down = False
    assert client.sync().success
    assert (held(client, campaign_id), posted_micros(client, campaign_id)) == (0, 50 * UNIT)


def test_exhausted_campaigns_delivery_is_charged_before_the_release(client: Client) -> None:
    campaign_id = active(client)
    delivers(client, campaign_id, BUDGET)
    assert client.sync().success
    assert reason(client, campaign_id) == [pb.Campaign.BUDGET_EXHAUSTED]
    client.outside.clock.at += timedelta(days=3, minutes=5)
    for _ in range(2):
        assert client.sync().success
        assert client.sweep().success
    assert (held(client, campaign_id), posted_micros(client, campaign_id)) == (0, BUDGET)


def test_days_of_a_network_outage_are_read_later(client: Client) -> None:
    campaign_id, network = active(client), client.outside.network
    assert client.sync().success
    delivers(client, campaign_id, 20 * UNIT)
    network.is_down = True
    for _ in range(6):
        client.outside.clock.at += timedelta(days=1)
        assert not client.sync().success
    network.is_down = False
    assert client.sync().success
    assert posted_micros(client, campaign_id) == 20 * UNIT


def too_much(client: Client, campaign_id: str, amount_micros: int) -> None:
    client.outside.payments.held_micros[UUID(campaign_id)] += amount_micros
    client.outside.payments.available_micros -= amount_micros
    client.outside.clock.at += timedelta(minutes=5)


@pytest.mark.parametrize("make", [active, paused, ended])
def test_sweep_reads_networks_before_it_releases(client: Client, make: Any) -> None:
    """More than the budget was delivered, and the hold covers it."""
    campaign_id = make(client)
    too_much(client, campaign_id, 10 * UNIT)
    delivers(client, campaign_id, 85 * UNIT)
    client.sweep()
    assert held(client, campaign_id) == 90 * UNIT, "the next run decides"
    assert client.sync().success
    assert posted_micros(client, campaign_id) == 85 * UNIT


def test_sweep_releases_nothing_while_the_network_does_not_answer(client: Client) -> None:
    campaign_id = active(client)
    too_much(client, campaign_id, 10 * UNIT)
    client.outside.network.is_down = True
    assert client.sweep().stats.error_count == 1
    assert held(client, campaign_id) == 90 * UNIT
    client.outside.network.is_down = False
    client.outside.clock.at += timedelta(minutes=5)
    assert client.sync().success
    assert held(client, campaign_id) == BUDGET


def test_rejected_start_with_delivery_keeps_its_hold(client: Client, refused: Refused) -> None:
    network, campaign = client.outside.network, client.create(budget_micros=BUDGET)
    play = network.play

    def delivers_and_refuses(external_id: str) -> None:
        play(external_id)
        delivers(client, campaign.id, 50 * UNIT)
        network.refuses = "it is odd"
        network.on_refusal = lambda: setattr(network, "refuses", "")
        play(external_id)

    network.play = delivers_and_refuses
    with refused() as refusal:
        client.start(campaign.id)
    assert refusal.reason == "NETWORK_REJECTED"
    assert (client.get(campaign.id).state, reason(client, campaign.id)) == (
        pb.Campaign.PAUSED,
        [pb.Campaign.NETWORK_REJECTED],
    )
    assert held(client, campaign.id) == BUDGET
    assert client.sync().success
    assert (held(client, campaign.id), posted_micros(client, campaign.id)) == (30 * UNIT, 50 * UNIT)
    network.play = play
    assert client.start(campaign.id).state == pb.Campaign.ACTIVE


def test_start_after_the_end_time_is_read_before_the_release(client: Client, refused: Refused) -> None:
    end = client.outside.clock.now() + timedelta(hours=1)
    campaign = client.create(budget_micros=BUDGET, end_time=timestamp(end))
    network = client.outside.network
    play = network.play

    def plays_and_loses_the_answer(external_id: str) -> None:
        play(external_id)
        raise NetworkUnavailable(network.code)

    network.play = plays_and_loses_the_answer
    with refused():
        client.start(campaign.id)
    delivers(client, campaign.id, 50 * UNIT)
    client.outside.clock.at = end
    for _ in range(3):
        client.outside.clock.at += timedelta(minutes=2)
        client.sync()
    assert posted_micros(client, campaign.id) == 50 * UNIT
    assert held(client, campaign.id) == 30 * UNIT
    assert reason(client, campaign.id) == [pb.Campaign.ENDED]
