"""The campaign's state machine."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from adlib.errors import InvalidField
from campaign_service.campaigns.model import (
    BudgetTooSmall,
    Campaign,
    CampaignEnded,
    CampaignNotFound,
    CampaignStateInvalid,
    EtagMismatch,
    FieldLocked,
    Reason,
    SpendChanged,
    State,
)

NOW = datetime(2030, 1, 15, 12, tzinfo=UTC)
DRAFT = Campaign(
    id=UUID(int=1),
    organization_id=UUID(int=2),
    name="Spring",
    budget_micros=100,
    currency_code="USD",
    target_url="https://example.com",
    bid_model="CPM",
    price_micros=1,
    networks=("TRAFFIC_ENGINE",),
    created_at=NOW,
    updated_at=NOW,
)


def test_every_change_has_a_new_etag_and_a_later_update_time() -> None:
    steps = [DRAFT]
    for change in (
        lambda one: one.starting(NOW),
        lambda one: one.active(NOW),
        lambda one: one.paused(Reason.USER, NOW),
        lambda one: one.edited({"name": "b"}, "", at=NOW, is_published=True),
        lambda one: one.active(NOW - timedelta(hours=1)),
        lambda one: one.completed(Reason.ENDED, NOW),
    ):
        steps.append(change(steps[-1]))
    assert len({one.etag for one in steps}) == len(steps)
    times = [one.updated_at for one in steps]
    assert times == sorted(set(times))


def test_new_figures_keep_the_etag() -> None:
    touched = DRAFT.touched(NOW)
    assert (touched.etag, touched.updated_at > DRAFT.updated_at) == (DRAFT.etag, True)


def test_every_start_has_its_own_hold_key() -> None:
    first = DRAFT.starting(NOW)
    second = first.without_hold(NOW).starting(NOW)
    third = second.releasing_hold(NOW).without_hold(NOW).starting(NOW)
    assert len({one.hold_key for one in (first, second, third)}) == 3
    assert not third.is_releasing_hold


@pytest.mark.parametrize("state", [State.DRAFT, State.PAUSED])
def test_ended_campaign_cannot_be_started(state: State) -> None:
    campaign = replace(DRAFT, state=state, end_time=NOW)
    campaign.check_startable(NOW - timedelta(microseconds=1))
    with pytest.raises(CampaignEnded):
        campaign.check_startable(NOW)


def test_completed_campaign_cannot_be_started_or_paused() -> None:
    completed = DRAFT.active(NOW).completed(Reason.BUDGET_EXHAUSTED, NOW)
    with pytest.raises(CampaignStateInvalid):
        completed.check_startable(NOW)
    with pytest.raises(CampaignStateInvalid):
        completed.check_pausable()


def test_stop_time_is_when_the_campaign_last_was_active() -> None:
    paused = DRAFT.active(NOW).paused(Reason.USER, NOW)
    assert paused.completed(Reason.ENDED, NOW + timedelta(days=1)).stopped_at == NOW
    assert paused.active(NOW).stopped_at is None


ACTIVE = DRAFT.starting(NOW).active(NOW)


@pytest.mark.parametrize(
    ("campaign", "is_published"),
    [
        (DRAFT.starting(NOW), False),
        (DRAFT, True),
        (ACTIVE, True),
        (ACTIVE.paused(Reason.USER, NOW), True),
        (ACTIVE.completed(Reason.ENDED, NOW), True),
    ],
    ids=["starting", "published", "active", "paused", "completed"],
)
def test_fields_are_locked_from_the_first_start_attempt(campaign: Campaign, is_published: bool) -> None:
    with pytest.raises(FieldLocked):
        campaign.edited({"price_micros": 200}, "", at=NOW, is_published=is_published)
    assert campaign.edited({"price_micros": 1, "name": "b"}, "", at=NOW, is_published=is_published).name == "b"


@pytest.mark.parametrize(
    ("campaign", "is_free"),
    [
        (DRAFT.starting(NOW), False),
        (DRAFT, True),
        (ACTIVE, True),
        (ACTIVE.paused(Reason.USER, NOW), True),
        (ACTIVE.completed(Reason.ENDED, NOW), False),
    ],
    ids=["starting", "published", "active", "paused", "completed"],
)
def test_budget_is_locked_during_a_first_start_and_once_completed(campaign: Campaign, is_free: bool) -> None:
    changes = {"budget_micros": 200}
    assert campaign.needs_budget_change(changes, is_published=True)
    if is_free:
        assert campaign.edited(changes, "", at=NOW, is_published=True).budget_micros == 200
    else:
        with pytest.raises(FieldLocked):
            campaign.edited(changes, "", at=NOW, is_published=True)


def test_unchanged_budget_needs_no_change_unless_one_is_pending() -> None:
    assert not ACTIVE.needs_budget_change({"budget_micros": 100, "name": "b"}, is_published=True)
    assert not DRAFT.needs_budget_change({"budget_micros": 200}, is_published=False)
    raising = ACTIVE.with_budget_change(50, NOW, new_budget_micros=150)
    assert raising.needs_budget_change({"budget_micros": 100}, is_published=True)
    assert not raising.needs_budget_change({"name": "b"}, is_published=True)


@pytest.mark.parametrize(
    ("daily", "asked", "least"), [(None, 60, 60), (70, 60, 70), (70, 70, 70), (None, 0, 0)], ids=str
)
def test_budget_covers_spend_and_daily_budget(daily: int | None, asked: int, least: int) -> None:
    campaign = replace(DRAFT, daily_budget_micros=daily)
    replace(campaign, budget_micros=least).check_budget_covers(asked)
    if least:
        with pytest.raises(InvalidField, match=f"budgetMicros must be at least {least}: 0.0000.* USD"):
            replace(campaign, budget_micros=least - 1).check_budget_covers(asked)


def test_every_budget_change_has_its_own_key_and_completes_or_is_dropped() -> None:
    raising = ACTIVE.with_budget_change(50, NOW, new_budget_micros=150)
    again = raising.without_budget_change(NOW).with_budget_change(50, NOW, new_budget_micros=150)
    assert raising.budget_change.key != again.budget_change.key
    assert (raising.with_budget_changed(NOW).budget_micros, raising.without_budget_change(NOW).budget_micros) == (
        150,
        100,
    )
    repaired = ACTIVE.with_budget_change(7, NOW).with_budget_changed(NOW)
    assert (repaired.budget_micros, repaired.budget_change) == (100, None)
    assert raising.reverting(NOW).without_budget_change(NOW).budget_change is None
    assert raising.without_hold(NOW).budget_change is None


def test_decided_lower_budget_caps_requested_spend() -> None:
    lowering = ACTIVE.with_budget_change(-40, NOW, new_budget_micros=60)
    assert lowering.max_requested_micros is None, "the networks may not have accepted it yet"
    assert lowering.with_release_decided(10, 60, NOW).max_requested_micros == 60
    assert ACTIVE.max_requested_micros is None
    assert ACTIVE.with_budget_change(-5, NOW).with_release_decided(0, 0, NOW).max_requested_micros is None
    assert ACTIVE.with_budget_change(50, NOW, new_budget_micros=150).max_requested_micros is None


def test_delivery_before_the_limit_is_not_released() -> None:
    lowering = ACTIVE.with_budget_change(-40, NOW, new_budget_micros=60)
    with pytest.raises(BudgetTooSmall) as refused:
        lowering.with_release_decided(0, 61, NOW)
    assert refused.value.metadata == {"leastMicros": "61"}
    held = replace(ACTIVE, hold_key="hold")
    assert held.with_budget_change(-5, NOW).with_release_decided(0, 100, NOW).budget_change.is_release_decided
    for campaign, posted, asked in ((held, 0, 101), (replace(held, hold_key=None), 3, 4)):
        with pytest.raises(SpendChanged):
            campaign.with_budget_change(-5, NOW).with_release_decided(posted, asked, NOW)


@pytest.mark.parametrize(
    ("asked", "budget", "goes_back"), [(0, 100, 50), (100, 100, 50), (120, 120, 30), (150, 150, 0), (999, 150, 0)]
)
def test_delivery_during_a_rejected_raise_stays_held(asked: int, budget: int, goes_back: int) -> None:
    back = ACTIVE.with_budget_change(50, NOW, new_budget_micros=150).reverting(NOW).with_revert_decided(asked, NOW)
    assert (back.budget_micros, back.budget_change.hold_micros) == (budget, goes_back)
    assert back.budget_change.is_release_decided


def test_active_campaign_cannot_be_deleted_and_paused_one_completes() -> None:
    with pytest.raises(CampaignStateInvalid, match="a campaign that is ACTIVE cannot be deleted"):
        ACTIVE.check_deletable()
    paused = ACTIVE.paused(Reason.USER, NOW)
    deleted = paused.deleted(NOW + timedelta(days=1))
    assert (deleted.state, deleted.stopped_at, deleted.hold_key) == (State.COMPLETED, NOW, paused.hold_key)
    assert DRAFT.deleted(NOW).state is State.DRAFT
    with pytest.raises(CampaignNotFound):
        deleted.edited({"name": "b"}, "", at=NOW, is_published=True)


def test_resuming_campaign_can_be_paused() -> None:
    paused = ACTIVE.paused(Reason.USER, NOW)
    with pytest.raises(CampaignStateInvalid):
        paused.check_pausable()
    paused.resuming(NOW).check_pausable()
    assert not paused.resuming(NOW).paused(Reason.USER, NOW).is_resuming


def test_draft_can_be_edited_and_is_validated() -> None:
    assert DRAFT.edited({"budget_micros": 200}, DRAFT.etag, at=NOW, is_published=False).budget_micros == 200
    with pytest.raises(EtagMismatch):
        DRAFT.edited({"budget_micros": 200}, "other", at=NOW, is_published=False)
    with pytest.raises(InvalidField):
        DRAFT.edited({"daily_budget_micros": 101}, "", at=NOW, is_published=False)


def test_not_started_yet_depends_on_the_time() -> None:
    campaign = replace(DRAFT, start_time=NOW).active(NOW)
    assert campaign.reasons(NOW - timedelta(seconds=1)) == (Reason.NOT_STARTED_YET,)
    assert campaign.reasons(NOW) == ()
