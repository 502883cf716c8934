"""Tenancy and constraints of the tables, and the campaigns that the jobs find."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from importlib.resources import as_file, files
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from yoyo import get_backend, read_migrations

from adlib.db import CheckViolated, Database, Query, migrate
from adlib.ids import new_id
from adlib.paging import Page
from campaign_service.__main__ import MIGRATIONS
from campaign_service.campaigns import store as campaigns
from campaign_service.campaigns.model import Campaign, CampaignNotFound, Reason
from campaign_service.placements import store as placements
from campaign_service.placements.model import State as PlacementState
from campaign_service.spend import store as spend
from campaign_service.spend.model import PlacementRef, Spent
from campaign_service.stats import store as stats
from campaign_service.stats.model import Delivery, Figures
from campaign_service.sync import store as sync

NOW = datetime(2030, 1, 15, 12, tzinfo=UTC)
DAY = NOW.date()
NETWORK = "TRAFFIC_ENGINE"


def draft(organization_id: UUID | None = None, **changes: object) -> Campaign:
    campaign = Campaign(
        id=new_id(),
        organization_id=organization_id or uuid4(),
        name="Spring",
        budget_micros=10**15,
        currency_code="USD",
        countries=("DE",),
        target_url="https://example.com",
        bid_model="CPM",
        price_micros=1,
        networks=(NETWORK,),
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(campaign, **changes)


def stored(db: Database, campaign: Campaign, *, has_placement: bool = True) -> Campaign:
    """Stores the campaign."""
    with db.transaction() as tx:
        campaigns.add(tx, campaign)
        if has_placement:
            placements.add(tx, campaign, {NETWORK: campaign.name})
            placements.update_states(tx, campaign, {NETWORK: "7"}, PlacementState.PLAYING)
    return campaign


def key(campaign: Campaign) -> tuple[UUID, UUID, str]:
    return campaign.organization_id, campaign.id, NETWORK


def add_posting(db: Database, campaign: Campaign, amount_micros: int, day: date = DAY) -> UUID:
    """Stores a posting; returns its id."""
    id = new_id()
    with db.transaction() as tx:
        spend.add(tx, PlacementRef(*key(campaign)), {id: ((day, ""), amount_micros)}, "USD", NOW)
    return id


def test_stored_campaign_is_read_back_unchanged(db: Database) -> None:
    campaign = stored(db, draft(devices=("MOBILE", "TABLET"), daily_budget_micros=5, start_time=NOW))
    assert campaigns.get(db, campaign.organization_id, campaign.id) == campaign
    paused = campaign.starting(NOW).active(NOW).paused(Reason.USER, NOW)
    with db.transaction() as tx:
        assert campaigns.lock(tx, campaign.organization_id, campaign.id) == campaign
        campaigns.save(tx, paused)
    assert campaigns.get(db, campaign.organization_id, campaign.id) == paused


def test_other_organization_reads_and_changes_nothing(db: Database) -> None:
    campaign, stranger = stored(db, draft()), uuid4()
    posting = add_posting(db, campaign, 5)
    with pytest.raises(CampaignNotFound):
        campaigns.get(db, stranger, campaign.id)
    with db.transaction() as tx:
        with pytest.raises(CampaignNotFound):
            campaigns.lock(tx, stranger, campaign.id)
        foreign = replace(campaign, organization_id=stranger, name="mine")
        campaigns.save(tx, foreign)
        placements.update_states(tx, foreign, {NETWORK: "8"}, PlacementState.STOPPED)
        (mine,) = spend.unposted(tx, campaign.organization_id, campaign.id, 10)
        assert not spend.settle(tx, replace(mine, organization_id=stranger), 5, 0)
        assert stats.deliveries(tx, stranger, campaign.id) == []
        assert spend.unposted(tx, stranger, campaign.id, 10) == []
        assert campaigns.list_page(tx, stranger, Page(50), None) == []
    assert mine.id == posting
    assert campaigns.get(db, campaign.organization_id, campaign.id) == campaign
    assert placements.of_campaign(db, campaign)[0].external_id == "7"


def test_figures_only_increase_and_joins_do_not_multiply_sums(db: Database) -> None:
    campaign = stored(db, draft())
    first, second = {(DAY, ""): Figures(5, 4, 3, 10**15)}, {(DAY, "z"): Figures(1, 1, 1, 1)}
    with db.transaction() as tx:
        stats.save_figures(tx, *key(campaign), first | second, NOW)
        stats.save_figures(tx, *key(campaign), {(DAY, ""): Figures(1, 9, 1, 1)}, NOW)
        assert stats.figures_since(tx, *key(campaign), DAY) == {(DAY, ""): Figures(5, 9, 3, 10**15)} | second
        assert stats.figures_since(tx, *key(campaign), DAY + timedelta(days=1)) == {}
    for amount in (10**15, 7, 1):
        add_posting(db, campaign, amount)
    with db.transaction() as tx:
        assert spend.requested_since(tx, PlacementRef(*key(campaign)), DAY) == {(DAY, ""): 10**15 + 8}
        whole, part, _ = spend.unposted(tx, campaign.organization_id, campaign.id, 10)
        assert spend.settle(tx, whole, 10**15, 0)
        assert not spend.settle(tx, whole, 1, 0), "it is settled once"
    assert spend.spent(db, campaign.organization_id, campaign.id) == Spent(10**15, 10**15 + 8)
    with db.transaction() as tx:
        assert spend.settle(tx, part, 3, 2)
    assert spend.spent(db, campaign.organization_id, campaign.id) == Spent(10**15 + 3, 10**15 + 4)
    assert stats.deliveries(db, campaign.organization_id, campaign.id) == [Delivery(NETWORK, 6, 10, 4, 10**15 + 3, NOW)]


def test_posted_amount_cannot_exceed_the_requested_amount(db: Database) -> None:
    campaign = stored(db, draft())
    add_posting(db, campaign, 5)
    (posting,) = spend.unposted(db, campaign.organization_id, campaign.id, 10)
    with pytest.raises(CheckViolated), db.transaction() as tx:
        spend.settle(tx, posting, 6, 0)


def test_sync_finds_active_recently_stopped_and_unposted_campaigns(db: Database) -> None:
    active = draft().active(NOW)
    deleted = draft().active(NOW).paused(Reason.USER, NOW).deleted(NOW)
    resuming = draft().active(NOW).paused(Reason.USER, NOW - timedelta(days=4)).resuming(NOW)
    paused = draft().active(NOW).paused(Reason.USER, NOW)
    done = draft().active(NOW).completed(Reason.ENDED, NOW - timedelta(days=4))
    owing = draft().active(NOW).completed(Reason.ENDED, NOW - timedelta(days=4))
    everyone = [stored(db, one) for one in (active, paused, done, owing, draft(), deleted, resuming)]
    stored(db, draft().active(NOW), has_placement=False)
    add_posting(db, owing, 5)

    def found(after: UUID, most: int) -> list[UUID]:
        rows = sync.campaigns_to_sync_any_tenant(db, NETWORK, NOW, NOW - timedelta(days=3), after, most)
        return [one.campaign_id for one in rows]

    due_ids = {one.id for one in (active, paused, owing, deleted, resuming)}
    expected = sorted(one.id for one in everyone if one.id in due_ids)
    assert found(UUID(int=0), 10) == expected
    assert found(UUID(int=0), 3) + found(expected[2], 3) == expected
    assert sync.campaigns_to_sync_any_tenant(db, "REVIVE", NOW, NOW, UUID(int=0), 10) == []


def test_sync_finds_pending_operations(db: Database) -> None:
    starting = draft().starting(NOW)
    ended = draft().starting(NOW).active(NOW).completed(Reason.ENDED, NOW)
    deleted = replace(ended, id=new_id()).deleted(NOW)
    resuming = draft().starting(NOW).active(NOW).paused(Reason.USER, NOW).resuming(NOW)
    raising = draft().starting(NOW).active(NOW).with_budget_change(5, NOW, new_budget_micros=10**15 + 5)
    pending = (starting, ended, deleted, resuming, raising)
    returned = ended.without_hold(NOW)
    paused = draft().starting(NOW).active(NOW).paused(Reason.USER, NOW)
    for campaign in (*pending, replace(returned, id=new_id()), draft(), draft().starting(NOW).active(NOW), paused):
        stored(db, campaign)
    soon, later = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)
    assert sync.pending_operations_any_tenant(db, later, later) == []
    found = sync.pending_operations_any_tenant(db, soon, soon)
    assert {one.campaign_id for one in found} == {one.id for one in pending}


@pytest.fixture
def rows(db: Database) -> Iterator[Campaign]:
    campaign = stored(db, draft())
    add_posting(db, campaign, 5)
    with db.transaction() as tx:
        stats.save_figures(tx, *key(campaign), {(DAY, ""): Figures(1, 1, 1, 1)}, NOW)
    yield campaign
    db.close()


def test_migrations_can_be_rolled_back_with_rows(rows: Campaign, database_url: str) -> None:
    backend = get_backend(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    with as_file(files("campaign_service") / "migrations") as folder:
        backend.rollback_migrations(backend.to_rollback(read_migrations(str(folder))))
    backend.connection.close()
    assert migrate(database_url, *MIGRATIONS) == [
        "campaign-0001-campaigns", "campaign-0002-search", "campaign-0003-holds", "campaign-0004-limits",
    ]  # fmt: skip
    again = Database(database_url)
    assert again.one(Query(text("SELECT count(*) FROM campaigns"))).count == 0
    again.close()
