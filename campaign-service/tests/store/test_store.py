"""What the tables keep apart, and which campaigns the jobs find."""

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
from campaign_service.stats import store
from campaign_service.stats.model import Delivery, Figures, Spent
from campaign_service.stats.store import Due

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


def kept(db: Database, campaign: Campaign, *, placed: bool = True) -> Campaign:
    """The campaign, stored."""
    with db.transaction() as tx:
        campaigns.add(tx, campaign)
        if placed:
            campaigns.place(tx, campaign, {NETWORK: campaign.name})
            campaigns.set_placements(tx, campaign, {NETWORK: "7"}, "PLAYING")
    return campaign


def due(campaign: Campaign) -> Due:
    return Due(campaign.organization_id, campaign.id, NETWORK, "7", NOW)


def owe(db: Database, campaign: Campaign, amount_micros: int, day: date = DAY) -> UUID:
    """Stores a posting; its id."""
    id = new_id()
    with db.transaction() as tx:
        store.add_postings(tx, due(campaign), {id: ((day, ""), amount_micros)}, campaign, NOW)
    return id


def test_a_campaign_is_kept_whole(db: Database) -> None:
    campaign = kept(db, draft(devices=("MOBILE", "TABLET"), daily_budget_micros=5, start_time=NOW))
    assert campaigns.get(db, campaign.organization_id, campaign.id) == campaign
    paused = campaign.starting(NOW).active(NOW).paused(Reason.USER, NOW)
    with db.transaction() as tx:
        assert campaigns.lock(tx, campaign.organization_id, campaign.id) == campaign
        campaigns.put(tx, paused)
    assert campaigns.get(db, campaign.organization_id, campaign.id) == paused


def test_another_organization_finds_and_changes_nothing(db: Database) -> None:
    campaign, stranger = kept(db, draft()), uuid4()
    posting = owe(db, campaign, 5)
    with pytest.raises(CampaignNotFound):
        campaigns.get(db, stranger, campaign.id)
    with db.transaction() as tx:
        with pytest.raises(CampaignNotFound):
            campaigns.lock(tx, stranger, campaign.id)
        foreign = replace(campaign, organization_id=stranger, name="mine")
        campaigns.put(tx, foreign)
        campaigns.set_placements(tx, foreign, {NETWORK: "8"}, "STOPPED")
        (mine,) = store.unposted(tx, campaign.organization_id, campaign.id, 10)
        assert not store.settle(tx, replace(mine, organization_id=stranger), 5, 0)
        assert store.deliveries(tx, stranger, campaign.id) == []
        assert store.unposted(tx, stranger, campaign.id, 10) == []
        assert campaigns.newest(tx, stranger, Page(50), None) == []
    assert mine.id == posting
    assert campaigns.get(db, campaign.organization_id, campaign.id) == campaign
    assert campaigns.placements(db, campaign)[0].external_id == "7"


def test_figures_only_grow_and_sums_do_not_multiply(db: Database) -> None:
    campaign = kept(db, draft())
    first, second = {(DAY, ""): Figures(5, 4, 3, 10**15)}, {(DAY, "z"): Figures(1, 1, 1, 1)}
    with db.transaction() as tx:
        store.put_figures(tx, due(campaign), first | second, NOW)
        store.put_figures(tx, due(campaign), {(DAY, ""): Figures(1, 9, 1, 1)}, NOW)
        assert store.known(tx, due(campaign), DAY) == {(DAY, ""): Figures(5, 9, 3, 10**15)} | second
        assert store.known(tx, due(campaign), DAY + timedelta(days=1)) == {}
    for amount in (10**15, 7, 1):
        owe(db, campaign, amount)
    with db.transaction() as tx:
        assert store.asked_micros(tx, due(campaign), DAY) == {(DAY, ""): 10**15 + 8}
        whole, part, _ = store.unposted(tx, campaign.organization_id, campaign.id, 10)
        assert store.settle(tx, whole, 10**15, 0)
        assert not store.settle(tx, whole, 1, 0), "it is settled once"
    assert store.spent(db, campaign.organization_id, campaign.id) == Spent(10**15, 10**15 + 8)
    with db.transaction() as tx:
        assert store.settle(tx, part, 3, 2)
    assert store.spent(db, campaign.organization_id, campaign.id) == Spent(10**15 + 3, 10**15 + 4)
    assert store.deliveries(db, campaign.organization_id, campaign.id) == [Delivery(NETWORK, 6, 10, 4, 10**15 + 3, NOW)]


def test_the_ledger_cannot_have_taken_more_than_it_was_asked_for(db: Database) -> None:
    campaign = kept(db, draft())
    owe(db, campaign, 5)
    (posting,) = store.unposted(db, campaign.organization_id, campaign.id, 10)
    with pytest.raises(CheckViolated), db.transaction() as tx:
        store.settle(tx, posting, 6, 0)


def test_the_sync_reads_what_plays_played_lately_or_is_unposted(db: Database) -> None:
    active = draft().active(NOW)
    deleted = draft().active(NOW).paused(Reason.USER, NOW).deleted(NOW)
    resuming = draft().active(NOW).paused(Reason.USER, NOW - timedelta(days=4)).resuming(NOW)
    paused = draft().active(NOW).paused(Reason.USER, NOW)
    done = draft().active(NOW).completed(Reason.ENDED, NOW - timedelta(days=4))
    owing = draft().active(NOW).completed(Reason.ENDED, NOW - timedelta(days=4))
    everyone = [kept(db, one) for one in (active, paused, done, owing, draft(), deleted, resuming)]
    kept(db, draft().active(NOW), placed=False)
    owe(db, owing, 5)

    def found(after: UUID, most: int) -> list[UUID]:
        dues = store.due_of_all(db, NETWORK, NOW, NOW - timedelta(days=3), after, most)
        return [one.campaign_id for one in dues]

    due_ids = {one.id for one in (active, paused, owing, deleted, resuming)}
    expected = sorted(one.id for one in everyone if one.id in due_ids)
    assert found(UUID(int=0), 10) == expected
    assert found(UUID(int=0), 3) + found(expected[2], 3) == expected
    assert store.due_of_all(db, "REVIVE", NOW, NOW, UUID(int=0), 10) == []


def test_the_job_finds_what_was_left_half_done(db: Database) -> None:
    starting = draft().starting(NOW)
    ended = draft().starting(NOW).active(NOW).completed(Reason.ENDED, NOW)
    deleted = replace(ended, id=new_id()).deleted(NOW)
    resuming = draft().starting(NOW).active(NOW).paused(Reason.USER, NOW).resuming(NOW)
    raising = draft().starting(NOW).active(NOW).moving(5, NOW, wanted_budget_micros=10**15 + 5)
    half_done = (starting, ended, deleted, resuming, raising)
    returned = ended.without_hold(NOW)
    paused = draft().starting(NOW).active(NOW).paused(Reason.USER, NOW)
    for campaign in (*half_done, replace(returned, id=new_id()), draft(), draft().starting(NOW).active(NOW), paused):
        kept(db, campaign)
    soon, later = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)
    assert campaigns.half_done_of_all(db, later, later) == []
    found = campaigns.half_done_of_all(db, soon, soon)
    assert {id for _, id in found} == {one.id for one in half_done}


@pytest.fixture
def rows(db: Database) -> Iterator[Campaign]:
    campaign = kept(db, draft())
    owe(db, campaign, 5)
    with db.transaction() as tx:
        store.put_figures(tx, due(campaign), {(DAY, ""): Figures(1, 1, 1, 1)}, NOW)
    yield campaign
    db.close()


def test_the_migration_can_be_taken_back_with_rows_in_the_tables(rows: Campaign, database_url: str) -> None:
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
