"""Raising and lowering a budget after the start, with its hold."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
from adplatform.campaign.v1 import campaign_pb2 as pb
from structlog.testing import capture_logs

from campaign_service.stats.model import Figures

Client = Any  # conftest's, which cannot be imported
Refused = Callable[[], AbstractContextManager[Any]]
BUDGET = 100_000_000
WALLET = 1_000_000_000


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


def report(client: Client, campaign_id: str, spend_micros: int) -> None:
    figures = Figures(impressions=1000, spend_micros=spend_micros)
    client.outside.network.report(client.external_id(campaign_id), date(2030, 1, 15), "", figures)


def started(client: Client, **changes: Any) -> str:
    return str(client.start(client.create(budget_micros=BUDGET, **changes).id).id)


def paused(client: Client) -> str:
    return str(client.pause(started(client)).id)


def held(client: Client, campaign_id: str) -> int:
    return int(client.outside.payments.held_micros.get(UUID(campaign_id), 0))


def at_network(client: Client, campaign_id: str) -> Any:
    return client.outside.network.campaigns[client.external_id(campaign_id)]


@pytest.mark.parametrize("make", [started, paused], ids=["active", "paused"])
@pytest.mark.parametrize("budget_micros", [250_000_000, 40_000_000], ids=["raised", "lowered"])
def test_budget_change_updates_hold_and_network(client: Client, make: Any, budget_micros: int) -> None:
    campaign_id = make(client)
    before = client.get(campaign_id)
    after = client.update(campaign_id, budget_micros=budget_micros, name="Summer", etag=before.etag)
    assert (after.budget_micros, after.name, after.state) == (budget_micros, "Summer", before.state)
    assert after.etag != before.etag
    assert (held(client, campaign_id), client.outside.payments.available_micros) == (
        budget_micros,
        WALLET - budget_micros,
    )
    assert at_network(client, campaign_id).budget_micros == budget_micros
    assert client.get(campaign_id) == after


def test_raise_without_funds_changes_nothing(client: Client, refused: Refused) -> None:
    campaign_id = started(client)
    with refused() as refusal:
        client.update(campaign_id, budget_micros=WALLET + 1, name="Summer")
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_FUNDS")
    after = client.get(campaign_id)
    assert (after.budget_micros, after.name, held(client, campaign_id)) == (BUDGET, "Spring", BUDGET)
    assert at_network(client, campaign_id).budget_micros == BUDGET
    assert client.update(campaign_id, budget_micros=WALLET).budget_micros == WALLET


def test_budget_cannot_be_below_posted_and_unposted_spend(client: Client, refused: Refused) -> None:
    campaign_id = started(client)
    report(client, campaign_id, 30_000_000)
    assert client.sync().success
    report(client, campaign_id, 45_000_000)
    client.outside.payments.is_down = True
    assert not client.sync().success
    client.outside.payments.is_down = False
    with refused() as refusal:
        client.update(campaign_id, budget_micros=44_999_999)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert "budgetMicros must be at least 45000000: 45 USD has been spent" in refusal.message
    assert refusal.metadata == {"leastMicros": "45000000"}
    assert client.update(campaign_id, budget_micros=45_000_000).budget_micros == 45_000_000
    assert held(client, campaign_id) == 0, "the unposted spend is charged"
    assert client.sync().success
    assert client.stats(campaign_id).total.spent_micros == 45_000_000
    assert list(client.get(campaign_id).state_reasons) == [pb.Campaign.BUDGET_EXHAUSTED]


def test_budget_cannot_be_below_the_daily_budget(client: Client, refused: Refused) -> None:
    campaign_id = started(client, daily_budget_micros=20_000_000)
    with refused() as refusal:
        client.update(campaign_id, budget_micros=19_999_999)
    assert refusal.reason == "INVALID_FIELD"
    assert "budgetMicros must be at least 20000000: 20 USD is the daily budget" in refusal.message
    assert held(client, campaign_id) == BUDGET


def test_completed_campaigns_budget_is_locked(client: Client, refused: Refused) -> None:
    campaign_id = started(client)
    report(client, campaign_id, BUDGET)
    assert client.sync().success
    with refused() as refusal:
        client.update(campaign_id, budget_micros=2 * BUDGET)
    assert (refusal.reason, refusal.metadata["field"]) == ("CAMPAIGN_FIELD_LOCKED", "budgetMicros")


def test_raise_during_sync_prevents_completion(client: Client) -> None:
    campaign_id = started(client)
    report(client, campaign_id, BUDGET)
    post = client.outside.payments.post

    def raised_meanwhile(spends: Any) -> Any:
        taken = post(spends)
        client.outside.payments.post = post
        client.update(campaign_id, budget_micros=2 * BUDGET)
        return taken

    client.outside.payments.post = raised_meanwhile
    assert client.sync().success
    assert client.get(campaign_id).state == pb.Campaign.ACTIVE
    assert held(client, campaign_id) == BUDGET


@pytest.mark.parametrize("spend_micros", [30_000_000, 50_000_000, 80_000_000, 120_000_000])
@pytest.mark.parametrize("budget_micros", [50_000_000, 150_000_000], ids=["lowered", "raised"])
def test_spend_recorded_during_a_budget_change_is_charged(
    client: Client, refused: Refused, budget_micros: int, spend_micros: int
) -> None:
    """The hold and the posted spend add up to the budget in every case."""
    campaign_id = started(client)
    set_budget = client.outside.network.set_budget

    def synced_meanwhile(*arguments: Any) -> None:
        report(client, campaign_id, spend_micros)
        client.outside.network.set_budget = set_budget
        client.sync()
        set_budget(*arguments)

    client.outside.network.set_budget = synced_meanwhile
    if budget_micros < BUDGET and spend_micros > budget_micros:
        with refused() as refusal:
            client.update(campaign_id, budget_micros=budget_micros)
        assert refusal.metadata == {"leastMicros": str(min(spend_micros, BUDGET))}
        budget_micros = BUDGET
    else:
        assert client.update(campaign_id, budget_micros=budget_micros).budget_micros == budget_micros
    for _ in range(2):
        assert client.sync().success
    spent = client.stats(campaign_id).total.spent_micros
    assert spent == min(spend_micros, budget_micros)
    assert held(client, campaign_id) == budget_micros - spent
    is_spent = spent == budget_micros
    assert client.get(campaign_id).state == (pb.Campaign.COMPLETED if is_spent else pb.Campaign.ACTIVE)


def test_concurrent_budget_changes_and_spend_are_consistent(client: Client) -> None:
    campaign_id = started(client)

    def act(number: int) -> str:
        try:
            if number % 3 == 0:
                report(client, campaign_id, number * 1_000_000)
                client.sync()
            elif number % 11 == 0:
                client.outside.clock.at += timedelta(minutes=5)
                client.sweep()
            else:
                client.update(campaign_id, budget_micros=(number * 37 % 200 + 20) * 1_000_000)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(act, range(32)))
    assert answers <= {"OK", "ABORTED", "INVALID_ARGUMENT", "FAILED_PRECONDITION"}
    client.outside.clock.at += timedelta(minutes=5)
    client.sync()
    spent = client.stats(campaign_id).total.spent_micros
    assert held(client, campaign_id) == client.get(campaign_id).budget_micros - spent
    assert client.outside.payments.available_micros == WALLET - held(client, campaign_id) - spent


@pytest.mark.parametrize("budget_micros", [250_000_000, 40_000_000], ids=["raised", "lowered"])
@pytest.mark.parametrize("repeats", [True, False], ids=["repeated", "by the job"])
@pytest.mark.parametrize("where", ["payments", "network"])
@pytest.mark.parametrize("trouble", ["is_down", "loses_answers"])
def test_interrupted_budget_change_is_resumed(
    client: Client, refused: Refused, budget_micros: int, repeats: bool, where: str, trouble: str
) -> None:
    campaign_id = started(client)
    setattr(getattr(client.outside, where), trouble, True)
    with refused() as refusal:
        client.update(campaign_id, budget_micros=budget_micros)
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert client.get(campaign_id).budget_micros == BUDGET
    # The networks keep the name that they were given at the start, so the campaign's name can change meanwhile.
    assert client.update(campaign_id, name="Summer").name == "Summer"
    setattr(getattr(client.outside, where), trouble, False)
    if repeats:
        client.update(campaign_id, budget_micros=budget_micros)
    else:
        client.outside.clock.at += timedelta(minutes=2)
        assert client.sync().success
    after = client.get(campaign_id)
    assert (after.budget_micros, after.name) == (budget_micros, "Summer")
    assert (held(client, campaign_id), client.outside.payments.available_micros) == (
        budget_micros,
        WALLET - budget_micros,
    )
    assert at_network(client, campaign_id).budget_micros == budget_micros


def test_interrupted_raise_can_be_undone(client: Client, refused: Refused) -> None:
    campaign_id = started(client)
    client.outside.payments.loses_answers = True
    with refused():
        client.update(campaign_id, budget_micros=250_000_000)
    client.outside.payments.loses_answers = False
    assert client.update(campaign_id, budget_micros=BUDGET).budget_micros == BUDGET
    assert held(client, campaign_id) == BUDGET


@pytest.mark.parametrize("budget_micros", [250_000_000, 40_000_000], ids=["raised", "lowered"])
def test_budget_change_that_a_network_rejects_changes_nothing(
    client: Client, refused: Refused, budget_micros: int
) -> None:
    campaign_id = started(client)
    client.outside.network.refuses = "the budget is odd"
    with refused() as refusal:
        client.update(campaign_id, budget_micros=budget_micros, name="Summer")
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NETWORK_REJECTED")
    client.outside.network.refuses = ""
    after = client.get(campaign_id)
    assert (after.budget_micros, after.name) == (BUDGET, "Spring")
    assert (held(client, campaign_id), client.outside.payments.available_micros) == (BUDGET, WALLET - BUDGET)


def test_stale_etag_leaves_the_hold_unchanged(client: Client, refused: Refused) -> None:
    campaign_id = started(client)
    etag = client.get(campaign_id).etag
    client.update(campaign_id, name="Summer")
    with refused() as refusal:
        client.update(campaign_id, budget_micros=2 * BUDGET, etag=etag)
    assert refusal.reason == "ETAG_MISMATCH"
    assert held(client, campaign_id) == BUDGET


def test_locked_field_beside_the_budget_leaves_the_hold_unchanged(client: Client, refused: Refused) -> None:
    campaign_id = started(client)
    with refused() as refusal:
        client.update(campaign_id, budget_micros=2 * BUDGET, bid=pb.Bid(model=pb.Bid.CPC, price_micros=1))
    assert (refusal.reason, refusal.metadata["field"]) == ("CAMPAIGN_FIELD_LOCKED", "bid")
    assert held(client, campaign_id) == BUDGET


def test_budget_of_a_draft_at_a_network_changes_without_a_hold(client: Client, refused: Refused) -> None:
    campaign = client.create(budget_micros=BUDGET)
    client.outside.payments.available_micros = BUDGET
    network = client.outside.network

    def refuse_from_now_on(name: str, made: Any) -> str:
        external_id = type(network).create(network, name, made)
        network.refuses = "not today"
        # The network accepts the stop of a campaign that it never played.
        network.stop = lambda external_id: None
        return str(external_id)

    network.create = refuse_from_now_on
    with refused() as refusal:
        client.start(campaign.id)
    assert refusal.reason == "NETWORK_REJECTED"
    network.refuses = ""
    assert client.update(campaign.id, budget_micros=BUDGET // 2).budget_micros == BUDGET // 2
    assert (held(client, campaign.id), at_network(client, campaign.id).budget_micros) == (0, BUDGET // 2)
    assert client.start(campaign.id).state == pb.Campaign.ACTIVE
    assert held(client, campaign.id) == BUDGET // 2
