"""SweepHolds over gRPC: the discrepancies that it finds, repairs, skips and reports."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.campaign.v1 import campaign_pb2 as pb
from adplatform.campaign.v1 import campaign_pb2_grpc
from structlog.testing import capture_logs

from adlib.clock import timestamp
from adlib.db import Database
from campaign_service.stats.model import Figures

Client = Any  # conftest's, which cannot be imported
Refused = Callable[[], AbstractContextManager[Any]]
BUDGET = 100_000_000
WALLET = 1_000_000_000


@pytest.fixture(autouse=True)
def logs() -> Iterator[Any]:
    with capture_logs() as captured:
        yield captured


def started(client: Client, **changes: Any) -> str:
    return str(client.start(client.create(**changes).id).id)


def paused(client: Client) -> str:
    return str(client.pause(started(client)).id)


def draft(client: Client) -> str:
    return str(client.create().id)


def held(client: Client, campaign_id: str) -> int:
    return int(client.outside.payments.held_micros.get(UUID(campaign_id), 0))


def off_by(client: Client, campaign_id: str, amount_micros: int) -> None:
    """Changes the ledger's hold by this amount."""
    payments, id = client.outside.payments, UUID(campaign_id)
    payments.held_micros[id] = payments.held_micros.get(id, 0) + amount_micros
    payments.holders.setdefault(id, (client.organization_id, "USD"))
    payments.available_micros -= amount_micros


def later(client: Client, **time: int) -> None:
    client.outside.clock.at += timedelta(**(time or {"minutes": 5}))


def spent(client: Client, campaign_id: str, spend_micros: int) -> None:
    figures = Figures(impressions=1000, spend_micros=spend_micros)
    day = client.outside.clock.now().date()
    client.outside.network.report(client.external_id(campaign_id), day, "", figures)
    client.sync()


def test_matching_holds_are_not_changed(client: Client) -> None:
    for make in (draft, started, paused):
        make(client)
    spent(client, started(client), 30_000_000)
    before = client.outside.payments.available_micros
    later(client)
    result = client.sweep()
    assert (result.success, result.message) == (True, "0 repaired; 3 compared")
    assert client.outside.payments.available_micros == before


@pytest.mark.parametrize("make", [started, paused], ids=["active", "paused"])
@pytest.mark.parametrize("amount_micros", [-BUDGET, -1, 1, BUDGET])
def test_missing_hold_is_restored_and_excess_is_released(client: Client, make: Any, amount_micros: int) -> None:
    campaign_id = make(client)
    state = client.get(campaign_id).state
    off_by(client, campaign_id, amount_micros)
    later(client)
    result = client.sweep()
    assert result.success
    assert result.message == f"1 repaired: 1 {'released' if amount_micros > 0 else 'held again'}; 1 compared"
    assert (held(client, campaign_id), client.get(campaign_id).state) == (BUDGET, state)
    assert client.outside.payments.available_micros == WALLET - BUDGET
    later(client)
    assert client.sweep().message == "0 repaired; 1 compared"


def test_expected_hold_is_the_unspent_budget(client: Client) -> None:
    campaign_id = started(client)
    spent(client, campaign_id, 30_000_000)
    off_by(client, campaign_id, -10_000_000)
    later(client)
    assert client.sweep().success
    assert held(client, campaign_id) == 70_000_000


def test_campaign_without_funds_for_its_hold_is_paused(client: Client, refused: Refused) -> None:
    campaign_id = started(client)
    off_by(client, campaign_id, -40_000_000)
    client.outside.payments.available_micros = 39_999_999
    later(client)
    result = client.sweep()
    assert (result.success, result.message) == (True, "1 repaired: 1 paused; 1 compared")
    campaign = client.get(campaign_id)
    assert (campaign.state, list(campaign.state_reasons)) == (
        pb.Campaign.PAUSED,
        [pb.Campaign.INSUFFICIENT_FUNDS],
    )
    assert not client.outside.network.campaigns[client.external_id(campaign_id)].is_playing
    with refused() as refusal:
        client.start(campaign_id)
    assert refusal.reason == "INSUFFICIENT_FUNDS"
    client.outside.payments.available_micros += 1
    assert client.start(campaign_id).state == pb.Campaign.ACTIVE
    assert (held(client, campaign_id), client.outside.payments.available_micros) == (BUDGET, 0)


def test_campaign_without_funds_that_cannot_be_stopped_is_paused_later(client: Client) -> None:
    campaign_id = started(client)
    off_by(client, campaign_id, -40_000_000)
    client.outside.payments.available_micros = 0
    client.outside.network.is_down = True
    later(client)
    assert client.sweep().stats.error_count == 1
    assert client.get(campaign_id).state == pb.Campaign.ACTIVE
    client.outside.network.is_down = False
    later(client)
    assert client.sync().success
    assert list(client.get(campaign_id).state_reasons) == [pb.Campaign.INSUFFICIENT_FUNDS]
    assert not client.outside.network.campaigns[client.external_id(campaign_id)].is_playing


def test_paused_campaign_without_funds_for_its_hold_is_a_failure(client: Client) -> None:
    campaign_id = paused(client)
    off_by(client, campaign_id, -40_000_000)
    client.outside.payments.available_micros = 0
    later(client)
    result = client.sweep()
    assert (result.success, result.stats.error_count) == (False, 1)
    assert result.message == "0 repaired; 1 failed; 1 compared"
    client.outside.payments.available_micros = 40_000_000
    later(client)
    assert client.sync().success, "the job retries"
    assert held(client, campaign_id) == BUDGET


def completed(client: Client) -> str:
    end = client.outside.clock.now() + timedelta(hours=1)
    campaign_id = started(client, end_time=timestamp(end))
    client.outside.clock.at = end
    client.sync()
    assert client.get(campaign_id).state == pb.Campaign.COMPLETED
    return campaign_id


def deleted(client: Client) -> str:
    campaign_id = paused(client)
    spent(client, campaign_id, 0)
    client.delete(campaign_id)
    return campaign_id


@pytest.mark.parametrize("make", [completed, deleted])
def test_completed_campaigns_hold_is_released_when_figures_are_final(client: Client, make: Any) -> None:
    campaign_id = make(client)
    later(client)
    assert client.sweep().message == "0 repaired; 1 compared"
    assert held(client, campaign_id) == BUDGET
    later(client, days=3)
    assert client.sweep().message == "1 repaired: 1 released; 1 compared"
    assert client.outside.payments.available_micros == WALLET


@pytest.mark.parametrize("make", [draft, completed, deleted])
def test_hold_of_a_campaign_that_is_not_starting_is_released(client: Client, make: Any) -> None:
    campaign_id = make(client)
    later(client, days=3, minutes=5)
    client.sync()
    assert held(client, campaign_id) == 0
    off_by(client, campaign_id, 5)
    later(client)
    assert client.sweep().message == "1 repaired: 1 released; 1 compared"
    assert client.outside.payments.available_micros == WALLET


def deleted_draft(client: Client) -> str:
    campaign_id = draft(client)
    client.delete(campaign_id)
    return campaign_id


@pytest.mark.parametrize("make", [draft, deleted_draft, completed, deleted])
def test_interrupted_release_is_resumed(client: Client, make: Any) -> None:
    campaign_id = make(client)
    later(client, days=3, minutes=5)
    client.sync()
    off_by(client, campaign_id, 5)
    later(client)
    holds = client.outside.payments.holds

    def then_goes_down() -> Iterator[Any]:
        pages = list(holds())
        client.outside.payments.is_down = True
        yield from pages

    client.outside.payments.holds = then_goes_down
    assert client.sweep().stats.error_count == 1
    client.outside.payments.is_down = False
    later(client)
    assert client.sync().success
    assert held(client, campaign_id) == 0
    assert client.outside.payments.available_micros == WALLET
    later(client)
    client.outside.payments.holds = holds
    assert (client.sync().stats.total, client.sweep().message) == (0, "0 repaired; 0 compared")


def test_hold_of_an_unknown_campaign_is_reported_and_unchanged(client: Client, logs: Any) -> None:
    campaign_id, stranger, off = started(client), uuid4(), started(client)
    for holder in (stranger, UUID(campaign_id)):
        client.outside.payments.holders[holder] = (uuid4(), "USD")
        client.outside.payments.held_micros[holder] = 7
    off_by(client, off, -1)
    later(client)
    result = client.sweep()
    assert (result.success, result.stats.error_count) == (False, 2)
    assert result.message.startswith("2 repaired: 2 held again; 2 unknown; ")
    assert client.outside.payments.held_micros[stranger] == 7
    loud = [log["campaign"] for log in logs if log["event"] == "hold_of_unknown_campaign"]
    assert sorted(loud) == sorted([str(stranger), campaign_id])


def test_recently_changed_campaign_is_left_for_the_next_run(client: Client) -> None:
    campaign_id = started(client)
    off_by(client, campaign_id, -1)
    assert client.sweep().message == "0 repaired; 1 being changed, left for the next run; 1 compared"
    assert held(client, campaign_id) == BUDGET - 1


def test_locked_campaign_is_left_for_the_next_run(client: Client, db: Database) -> None:
    campaign_id = started(client)
    off_by(client, campaign_id, -1)
    later(client)
    with db.advisory_lock(f"campaign:{campaign_id}"):
        result = client.sweep()
    assert (result.success, result.message) == (
        True,
        "0 repaired; 1 being changed, left for the next run; 1 compared",
    )


def test_campaign_changed_during_the_read_is_left_for_the_next_run(client: Client) -> None:
    campaign_id = started(client)
    later(client)
    holds = client.outside.payments.holds

    def spent_after_it_was_read() -> Iterator[Any]:
        pages = list(holds())
        spent(client, campaign_id, 30_000_000)
        yield from pages

    client.outside.payments.holds = spent_after_it_was_read
    assert "1 being changed" in client.sweep().message
    assert held(client, campaign_id) == BUDGET - 30_000_000


def test_campaign_changed_before_the_repair_is_left_for_the_next_run(client: Client) -> None:
    first, second = started(client), started(client)
    for campaign_id in (first, second):
        off_by(client, campaign_id, -1)
    later(client)
    hold = client.outside.payments.hold

    def change_the_second(*arguments: Any) -> None:
        client.outside.payments.hold = hold
        client.update(second, budget_micros=2 * BUDGET)
        hold(*arguments)

    client.outside.payments.hold = change_the_second
    assert client.sweep().message == ("1 repaired: 1 held again; 1 being changed, left for the next run; 2 compared")
    assert (held(client, first), held(client, second)) == (BUDGET, 2 * BUDGET - 1)
    later(client)
    assert client.sweep().success
    assert held(client, second) == 2 * BUDGET


def test_unposted_spend_is_not_released(client: Client) -> None:
    campaign_id = started(client)
    client.outside.payments.is_down = True
    spent(client, campaign_id, 30_000_000)
    client.outside.payments.is_down = False
    off_by(client, campaign_id, 5)
    later(client)
    assert "1 being changed" in client.sweep().message
    client.sync()
    later(client)
    assert "1 released" in client.sweep().message
    assert held(client, campaign_id) == BUDGET - 30_000_000


def test_one_failure_does_not_stop_other_repairs(client: Client) -> None:
    first, second, third = (started(client) for _ in range(3))
    for campaign_id in (first, second, third):
        off_by(client, campaign_id, -1)
    hold = client.outside.payments.hold

    def fails_for_the_second(organization_id: UUID, campaign_id: UUID, *rest: Any) -> None:
        if campaign_id == UUID(second):
            raise RuntimeError("a fault")
        hold(organization_id, campaign_id, *rest)

    client.outside.payments.hold = fails_for_the_second
    later(client)
    result = client.sweep()
    assert (result.stats.total, result.stats.success_count, result.stats.error_count) == (3, 2, 1)
    assert result.message == "2 repaired: 2 held again; 1 failed; 3 compared"
    assert [held(client, one) for one in (first, second, third)] == [BUDGET, BUDGET - 1, BUDGET]
    client.outside.payments.hold = hold
    later(client)
    client.sync()
    assert held(client, second) == BUDGET, "resumed by the other job"


def test_campaigns_without_holds_are_found_in_pages(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    # Lowers a constant, so that five campaigns take several pages.
    monkeypatch.setattr("campaign_service.holds.jobs._PAGE_SIZE", 2)
    campaigns = [started(client) for _ in range(5)]
    for campaign_id in campaigns:
        off_by(client, campaign_id, -BUDGET)
    later(client)
    assert client.sweep().message == "5 repaired: 5 held again; 5 compared"
    assert [held(client, one) for one in campaigns] == [BUDGET] * 5


def test_sweep_requires_the_scheduler_and_runs_once_at_a_time(client: Client, db: Database, refused: Refused) -> None:
    with refused() as refusal:
        campaign_pb2_grpc.CampaignJobsServiceStub(client.channel).SweepHolds(
            pb.SweepHoldsRequest(), metadata=client.headers
        )
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
    with db.advisory_lock("job:sweep-holds"):
        result = client.sweep()
    assert (result.success, result.message) == (False, "sweep-holds is already running")
    client.outside.payments.is_down = True
    with refused() as refusal:
        client.sweep()
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
