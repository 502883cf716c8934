"""SyncStats over gRPC, with failures of the systems that it calls."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.campaign.v1 import campaign_pb2 as pb
from adplatform.campaign.v1 import campaign_pb2_grpc
from adplatform.events.v1.events_pb2 import Event, SpendPosted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from structlog.testing import capture_logs

from adlib.clock import timestamp
from adlib.db import Database, Query
from campaign_service.clients.payment import Spend
from campaign_service.clients.publisher import Owner
from campaign_service.stats.model import Figures

Client = Any  # conftest's, which cannot be imported
Refused = Callable[[], AbstractContextManager[Any]]
TODAY = date(2030, 1, 15)
_POSTINGS = Query(text("SELECT id FROM spend_postings"))
_OUTBOX = Query(text("SELECT payload FROM outbox ORDER BY position"))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Hides expected failures: rendering a traceback takes a quarter of a second."""
    with capture_logs():
        yield


def started(client: Client, **changes: Any) -> str:
    return client.start(client.create(**changes).id).id


def report(client: Client, campaign_id: str, spend_micros: int, zone_id: str = "", day: date = TODAY) -> None:
    figures = Figures(impressions=1000, clicks=50, conversions=5, spend_micros=spend_micros)
    client.outside.network.report(client.external_id(campaign_id), day, zone_id, figures)


def spent_micros(client: Client, campaign_id: str) -> int:
    """The amount that the ledger has posted."""
    payments = client.outside.payments
    return sum(one.amount_micros for one in payments.spends if one.campaign_id == UUID(campaign_id))


def events(db: Database, kind: str) -> list[Any]:
    payloads = [Event.FromString(row.payload) for row in db.all(_OUTBOX)]
    return [getattr(event, kind) for event in payloads if event.WhichOneof("payload") == kind]


def test_spend_is_posted_once_over_repeated_syncs(client: Client, db: Database) -> None:
    campaign_id = started(client)
    report(client, campaign_id, 2_500_000)
    for _ in range(3):
        result = client.sync()
        assert (result.success, result.stats.total, result.stats.success_count) == (True, 1, 1)
    assert spent_micros(client, campaign_id) == 2_500_000
    (posted,) = events(db, "spend_posted")
    assert posted == SpendPosted(
        campaign_id=campaign_id, network=pb.TRAFFIC_ENGINE, day="2030-01-15", amount_micros=2_500_000,
        currency_code="USD",
    )  # fmt: skip
    last = events(db, "campaign_changed")[-1]
    assert last.figures == pb.DeliveryFigures(impressions=1000, clicks=50, conversions=5, spent_micros=2_500_000)
    assert last.campaign.etag == client.get(campaign_id).etag


def test_statistics_are_total_and_by_network(client: Client) -> None:
    campaign_id = started(client)
    before = client.stats(campaign_id)
    assert (before.total, before.networks[0].HasField("sync_time")) == (pb.DeliveryFigures(), False)
    report(client, campaign_id, 2_000_000)
    report(client, campaign_id, 1_000_000, day=TODAY - timedelta(days=2))
    report(client, campaign_id, 9_000_000, day=TODAY - timedelta(days=3))
    client.sync()
    stats = client.stats(campaign_id)
    expected = pb.DeliveryFigures(impressions=2000, clicks=100, conversions=10, spent_micros=3_000_000)
    assert (stats.total, stats.currency_code) == (expected, "USD")
    (network,) = stats.networks
    assert (network.network, network.figures) == (pb.TRAFFIC_ENGINE, expected)
    assert network.sync_time == timestamp(client.outside.clock.now())


def test_publisher_earns_its_share_of_the_spend_in_its_zone(client: Client, db: Database) -> None:
    zone, owner = uuid4(), Owner(uuid4(), uuid4(), 7000)
    client.outside.publishers.known[zone] = owner
    campaign_id = started(client)
    for zone_id in (str(zone), str(uuid4()), "not-ours", ""):
        report(client, campaign_id, 1_000_001, zone_id=zone_id)
    assert client.sync().success
    (sent,) = [one for one in client.outside.payments.spends if one.share]
    assert (sent.share.zone_id, sent.share.publisher_id, sent.share.basis_points) == (zone, owner.publisher_id, 7000)
    shared = [one for one in events(db, "spend_posted") if one.HasField("publisher")]
    assert [(one.publisher.publisher_id, one.publisher_micros) for one in shared] == [
        (str(owner.publisher_id), 700_000)
    ]
    assert len(events(db, "spend_posted")) == 4


def test_spend_waits_for_the_zone_directory(client: Client) -> None:
    zone = uuid4()
    client.outside.publishers.known[zone] = Owner(uuid4(), uuid4(), 7000)
    client.outside.publishers.is_down = True
    campaign_id = started(client)
    report(client, campaign_id, 1_000_000, zone_id=str(zone))
    result = client.sync()
    assert (result.success, result.stats.error_count) == (False, 1)
    assert client.outside.payments.spends == []
    client.outside.publishers.is_down = False
    assert client.sync().success
    (sent,) = client.outside.payments.spends
    assert sent.share.basis_points == 7000


def test_repeated_posting_has_the_same_content(client: Client, db: Database) -> None:
    zone = uuid4()
    campaign_id = started(client)
    report(client, campaign_id, 1_000_000, zone_id=str(zone))
    client.outside.payments.loses_answers = True
    assert not client.sync().success
    # The zone's publisher is approved after the first attempt, too late for this amount.
    client.outside.publishers.known[zone] = Owner(uuid4(), uuid4(), 7000)
    client.outside.payments.loses_answers = False
    assert client.sync().success
    assert spent_micros(client, campaign_id) == 1_000_000
    (posted,) = events(db, "spend_posted")
    assert (posted.HasField("publisher"), posted.publisher_micros) == (False, 0)


def test_stored_postings_do_not_wait_for_a_network_outage(client: Client) -> None:
    campaign_id = started(client)
    report(client, campaign_id, 1_000_000)
    client.outside.payments.is_down = True
    assert not client.sync().success
    client.outside.payments.is_down, client.outside.network.is_down = False, True
    assert client.sync().stats.error_count == 1
    assert client.stats(campaign_id).total.spent_micros == 1_000_000


def test_one_campaigns_failure_does_not_stop_other_campaigns(client: Client) -> None:
    first, second, third = (started(client) for _ in range(3))
    for campaign_id in (first, second, third):
        report(client, campaign_id, 1_000_000)
    post = client.outside.payments.post

    def fails_for_the_second(spends: Any) -> Any:
        if any(one.campaign_id == UUID(second) for one in spends):
            raise RuntimeError("a fault")
        return post(spends)

    client.outside.payments.post = fails_for_the_second
    stats = client.sync().stats
    assert (stats.total, stats.success_count, stats.error_count) == (3, 2, 1)
    assert [spent_micros(client, one) for one in (first, second, third)] == [1_000_000, 0, 1_000_000]


def test_exhausted_budget_completes_the_campaign(client: Client) -> None:
    campaign_id = started(client, budget_micros=1_000_000)
    report(client, campaign_id, 1_500_000)
    assert client.sync().success
    campaign = client.get(campaign_id)
    assert (campaign.state, list(campaign.state_reasons)) == (
        pb.Campaign.COMPLETED,
        [pb.Campaign.BUDGET_EXHAUSTED],
    )
    assert not client.outside.network.campaigns[client.external_id(campaign_id)].is_playing
    assert client.stats(campaign_id).total.spent_micros == 1_000_000
    # Later figures are read, and the ledger posts nothing more.
    report(client, campaign_id, 1_600_000)
    assert client.sync().success
    assert client.stats(campaign_id).total.spent_micros == 1_000_000


def test_exhausted_campaign_is_stopped_after_a_network_rejection(client: Client) -> None:
    campaign_id = started(client, budget_micros=1_000_000)
    report(client, campaign_id, 1_000_000)
    client.outside.network.refuses = "not now"
    assert client.sync().stats.error_count == 1
    assert client.get(campaign_id).state == pb.Campaign.ACTIVE
    client.outside.network.refuses = ""
    assert client.sync().success
    assert client.get(campaign_id).state == pb.Campaign.COMPLETED
    assert not client.outside.network.campaigns[client.external_id(campaign_id)].is_playing


def test_ended_campaign_is_completed_and_released_when_figures_are_final(client: Client) -> None:
    end = client.outside.clock.now() + timedelta(hours=1)
    campaign_id = started(client, end_time=timestamp(end))
    report(client, campaign_id, 40_000_000)
    client.outside.clock.at = end
    assert client.sync().success
    campaign = client.get(campaign_id)
    assert (campaign.state, list(campaign.state_reasons)) == (pb.Campaign.COMPLETED, [pb.Campaign.ENDED])
    assert client.outside.payments.available_micros == 900_000_000
    client.outside.clock.at += timedelta(days=3, seconds=1)
    for _ in range(2):
        assert client.sync().success
        assert client.outside.payments.available_micros == 960_000_000


def test_hold_is_not_released_before_spend_is_charged(client: Client) -> None:
    zone_id, publisher = uuid4(), Owner(uuid4(), uuid4(), 7000)
    client.outside.publishers.known[zone_id] = publisher
    end = client.outside.clock.now() + timedelta(hours=1)
    campaign_id = started(client, end_time=timestamp(end))
    report(client, campaign_id, 40_000_000, str(zone_id))
    client.outside.clock.at = end
    client.sync()
    report(client, campaign_id, 70_000_000, str(zone_id))
    client.outside.publishers.is_down = True
    client.sync()
    client.outside.clock.at += timedelta(days=3, seconds=1)
    client.sync()
    client.outside.publishers.is_down = False
    for _ in range(2):
        client.sync()
    assert client.stats(campaign_id).total.spent_micros == 70_000_000
    assert client.outside.payments.available_micros == 930_000_000


def test_paused_campaign_is_completed_at_its_end_time(client: Client) -> None:
    end = client.outside.clock.now() + timedelta(days=10)
    campaign_id = started(client, end_time=timestamp(end))
    client.pause(campaign_id)
    client.outside.clock.at = end
    for _ in range(2):
        assert client.sync().success
    campaign = client.get(campaign_id)
    assert (campaign.state, list(campaign.state_reasons)) == (pb.Campaign.COMPLETED, [pb.Campaign.ENDED])
    assert client.outside.payments.available_micros == 1_000_000_000


def test_paused_campaign_is_read_for_three_days(client: Client) -> None:
    campaign_id = started(client)
    client.pause(campaign_id)
    report(client, campaign_id, 1_000_000)
    client.outside.clock.at += timedelta(days=2)
    assert client.sync().stats.total == 1
    assert spent_micros(client, campaign_id) == 1_000_000
    client.outside.clock.at += timedelta(days=1, seconds=1)
    assert client.sync().stats.total == 0


def test_campaigns_are_read_in_batches(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    # Lowers a constant: starting 101 campaigns would take long.
    monkeypatch.setattr("campaign_service.sync.jobs._MAX_BATCH", 4)
    campaigns = [started(client, budget_micros=1000) for _ in range(5)]
    asked = []
    statistics = client.outside.network.statistics
    client.outside.network.statistics = lambda ids, *days: asked.append(len(ids)) or statistics(ids, *days)
    report(client, campaigns[-1], 10)
    assert client.sync().stats.success_count == 5
    assert asked == [4, 1]
    assert client.stats(campaigns[-1]).total.spent_micros == 10


@pytest.mark.parametrize("where", ["payments", "network"])
def test_job_resumes_an_interrupted_start(client: Client, refused: Refused, where: str) -> None:
    campaign, system = client.create(), getattr(client.outside, where)
    system.loses_answers = True
    with refused():
        client.start(campaign.id)
    system.loses_answers = False
    assert client.sync().stats.total == 0, "a start may still be in progress for a minute"
    client.outside.clock.at += timedelta(minutes=2)
    assert client.sync().stats.success_count == 2, "resumed, and then read"
    assert client.get(campaign.id).state == pb.Campaign.ACTIVE
    assert client.outside.payments.available_micros == 900_000_000
    assert len(client.outside.network.campaigns) == 1


def test_sync_requires_the_scheduler_and_runs_once_at_a_time(client: Client, db: Database, refused: Refused) -> None:
    with refused() as refusal:
        campaign_pb2_grpc.CampaignJobsServiceStub(client.channel).SyncStats(
            pb.SyncStatsRequest(), metadata=client.headers
        )
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
    with db.advisory_lock("job:sync-stats"):
        assert not client.sync().success


TROUBLE = (("network", "is_down"), ("payments", "is_down"), ("payments", "loses_answers"), ("publishers", "is_down"))
ZONES = ("", "00000000-0000-0000-0000-000000000001", "not-ours")
steps = st.tuples(
    st.dictionaries(st.tuples(st.sampled_from(ZONES), st.integers(0, 2)), st.integers(0, 3_000_000)),
    st.sampled_from([None, *TROUBLE]),
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, min_size=1, max_size=6))
def test_ledger_posts_exactly_the_highest_figures_despite_failures(client: Client, sequence: Any) -> None:
    outside = client.outside
    outside.publishers.known[UUID(ZONES[1])] = Owner(UUID(int=8), UUID(int=9), 7000)
    outside.payments.available_micros = 10**12
    campaign_id = started(client)
    highest: dict[object, int] = {}
    for reported, trouble in [*sequence, ({}, None)]:
        for (zone_id, days_ago), spend in reported.items():
            report(client, campaign_id, spend, zone_id, TODAY - timedelta(days=days_ago))
        if trouble:
            setattr(getattr(outside, trouble[0]), trouble[1], True)
        result = client.sync()
        assert result.success or trouble, result
        if trouble:
            setattr(getattr(outside, trouble[0]), trouble[1], False)
        if trouble != ("network", "is_down"):
            reported_figures = outside.network.campaigns[client.external_id(campaign_id)].figures
            highest = {slot: max(highest.get(slot, 0), one.spend_micros) for slot, one in reported_figures.items()}
    assert spent_micros(client, campaign_id) == sum(highest.values())
    assert client.stats(campaign_id).total.spent_micros == sum(highest.values())
    client.pause(campaign_id)
    outside.network.campaigns[client.external_id(campaign_id)] = replace(
        outside.network.campaigns[client.external_id(campaign_id)], figures={}
    )


def test_publisher_share_is_of_the_posted_amount(client: Client, db: Database) -> None:
    zone = uuid4()
    client.outside.publishers.known[zone] = Owner(uuid4(), uuid4(), 7000)
    campaign_id = started(client, budget_micros=1_000)
    report(client, campaign_id, 5_000, zone_id=str(zone))
    assert client.sync().success
    (posted,) = events(db, "spend_posted")
    assert (posted.amount_micros, posted.publisher_micros) == (1_000, 700)


@pytest.mark.parametrize("spend_micros", [0, 1])
def test_zero_spend_is_not_posted(client: Client, db: Database, spend_micros: int) -> None:
    campaign_id = started(client)
    report(client, campaign_id, spend_micros)
    assert client.sync().success
    assert len(events(db, "spend_posted")) == spend_micros
    assert client.stats(campaign_id).total.impressions == 1000


@pytest.mark.parametrize(
    ("asked_before", "held_before", "taken_before"),
    [(1_000_000, 100_000_000, 1_000_000), (3_000_000, 100_000_000, 3_000_000), (1_000_000, 0, 0)],
    ids=["less", "more", "nothing"],
)
def test_posting_with_another_amount_in_the_ledger_is_split_and_charged_once(
    client: Client, db: Database, asked_before: int, held_before: int, taken_before: int
) -> None:
    campaign_id, payments = started(client), client.outside.payments
    report(client, campaign_id, 2_000_000)
    payments.loses_answers = True
    payments.is_down = True
    assert not client.sync().success
    payments.loses_answers = payments.is_down = False
    held_micros, payments.held_micros[UUID(campaign_id)] = payments.held_micros[UUID(campaign_id)], held_before
    (row,) = db.all(_POSTINGS)
    spend = Spend(str(row.id), client.organization_id, UUID(campaign_id), asked_before, "USD", None)
    assert payments.post([spend])[spend.key].micros == taken_before
    payments.held_micros[UUID(campaign_id)] = held_micros - taken_before

    first = client.sync()
    assert (first.success, first.stats.error_count) == (False, 1)
    (failure,) = first.failures
    assert (failure.item, "another amount" in failure.reason) == (f"campaign {campaign_id} at TRAFFIC_ENGINE", True)
    assert client.sync().success
    assert client.sync().success
    taken_micros = max(2_000_000, taken_before)
    assert payments.held_micros[UUID(campaign_id)] == held_micros - taken_micros
    assert sum(one.amount_micros for one in events(db, "spend_posted")) == taken_micros
    assert client.stats(campaign_id).total.spent_micros == taken_micros
    report(client, campaign_id, 5_000_000)
    assert client.sync().success
    assert client.stats(campaign_id).total.spent_micros == 5_000_000
