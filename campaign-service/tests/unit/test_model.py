"""The rules of a campaign's life."""

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


def test_every_change_gives_a_new_etag_and_a_later_update_time() -> None:
    steps = [DRAFT]
    for change in (
        lambda one: one.starting(NOW),
        lambda one: one.active(NOW),
        lambda one: one.paused(Reason.USER, NOW),
        lambda one: one.edited({"name": "b"}, "", at=NOW, published=True),
        lambda one: one.active(NOW - timedelta(hours=1)),
        lambda one: one.completed(Reason.ENDED, NOW),
    ):
        steps.append(change(steps[-1]))
    assert len({one.etag for one in steps}) == len(steps)
    times = [one.updated_at for one in steps]
    assert times == sorted(set(times))


def test_figures_alone_leave_the_etag() -> None:
    touched = DRAFT.touched(NOW)
    assert (touched.etag, touched.updated_at > DRAFT.updated_at) == (DRAFT.etag, True)


def test_no_two_attempts_at_starting_hold_by_the_same_key() -> None:
    first = DRAFT.starting(NOW)
    second = first.without_hold(NOW).starting(NOW)
    third = second.returning_hold(NOW).without_hold(NOW).starting(NOW)
    assert len({one.hold_key for one in (first, second, third)}) == 3
    assert not third.hold_returning


@pytest.mark.parametrize("state", [State.DRAFT, State.PAUSED])
def test_what_has_ended_cannot_be_started(state: State) -> None:
    campaign = replace(DRAFT, state=state, end_time=NOW)
    campaign.check_startable(NOW - timedelta(microseconds=1))
    with pytest.raises(CampaignEnded):
        campaign.check_startable(NOW)


def test_what_is_completed_cannot_be_started_or_paused() -> None:
    completed = DRAFT.active(NOW).completed(Reason.BUDGET_EXHAUSTED, NOW)
    with pytest.raises(CampaignStateInvalid):
        completed.check_startable(NOW)
    with pytest.raises(CampaignStateInvalid):
        completed.check_pausable()


def test_a_campaign_stopped_when_it_first_ceased_to_be_active() -> None:
    paused = DRAFT.active(NOW).paused(Reason.USER, NOW)
    assert paused.completed(Reason.ENDED, NOW + timedelta(days=1)).stopped_at == NOW
    assert paused.active(NOW).stopped_at is None


ACTIVE = DRAFT.starting(NOW).active(NOW)


@pytest.mark.parametrize(
    ("campaign", "published"),
    [
        (DRAFT.starting(NOW), False),
        (DRAFT, True),
        (ACTIVE, True),
        (ACTIVE.paused(Reason.USER, NOW), True),
        (ACTIVE.completed(Reason.ENDED, NOW), True),
    ],
    ids=["starting", "published", "active", "paused", "completed"],
)
def test_what_a_network_knows_is_locked_from_the_first_attempt_at_starting(campaign: Campaign, published: bool) -> None:
    with pytest.raises(FieldLocked):
        campaign.edited({"price_micros": 200}, "", at=NOW, published=published)
    assert campaign.edited({"price_micros": 1, "name": "b"}, "", at=NOW, published=published).name == "b"


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
def test_the_budget_may_change_unless_a_start_is_half_done_or_all_is_over(campaign: Campaign, is_free: bool) -> None:
    changes = {"budget_micros": 200}
    assert campaign.moves_money(changes, published=True)
    if is_free:
        assert campaign.edited(changes, "", at=NOW, published=True).budget_micros == 200
    else:
        with pytest.raises(FieldLocked):
            campaign.edited(changes, "", at=NOW, published=True)


def test_a_budget_that_is_sent_as_it_is_moves_no_money_unless_it_is_on_its_way() -> None:
    assert not ACTIVE.moves_money({"budget_micros": 100, "name": "b"}, published=True)
    assert not DRAFT.moves_money({"budget_micros": 200}, published=False)
    raising = ACTIVE.moving(50, NOW, wanted_budget_micros=150)
    assert raising.moves_money({"budget_micros": 100}, published=True)
    assert not raising.moves_money({"name": "b"}, published=True)


@pytest.mark.parametrize(
    ("daily", "asked", "least"), [(None, 60, 60), (70, 60, 70), (70, 70, 70), (None, 0, 0)], ids=str
)
def test_a_budget_covers_what_was_spent_and_a_days(daily: int | None, asked: int, least: int) -> None:
    campaign = replace(DRAFT, daily_budget_micros=daily)
    replace(campaign, budget_micros=least).check_budget_covers(asked)
    if least:
        with pytest.raises(InvalidField, match=f"budgetMicros must be at least {least}: 0.0000.* USD"):
            replace(campaign, budget_micros=least - 1).check_budget_covers(asked)


def test_no_two_moves_have_the_same_key_and_a_move_ends_with_its_budget_or_without() -> None:
    raising = ACTIVE.moving(50, NOW, wanted_budget_micros=150)
    again = raising.unmoved(NOW).moving(50, NOW, wanted_budget_micros=150)
    assert raising.move_key != again.move_key
    assert (raising.moved(NOW).budget_micros, raising.unmoved(NOW).budget_micros) == (150, 100)
    repaired = ACTIVE.moving(7, NOW).moved(NOW)
    assert (repaired.budget_micros, repaired.move_key, repaired.moving_micros) == (100, None, 0)
    assert raising.moving_back(NOW).unmoved(NOW).moves_back is False
    assert raising.without_hold(NOW).move_key is None


def test_a_budget_that_networks_accepted_leaves_room_for_no_more_than_the_lower() -> None:
    lowering = ACTIVE.moving(-40, NOW, wanted_budget_micros=60)
    assert lowering.most_asked_micros is None, "the networks may not know of it yet"
    assert lowering.limited(10, 60, NOW).most_asked_micros == 60
    assert ACTIVE.most_asked_micros is None
    assert ACTIVE.moving(-5, NOW).limited(0, 0, NOW).most_asked_micros is None
    assert ACTIVE.moving(50, NOW, wanted_budget_micros=150).most_asked_micros is None


def test_what_was_delivered_until_the_limit_is_not_given_back() -> None:
    lowering = ACTIVE.moving(-40, NOW, wanted_budget_micros=60)
    with pytest.raises(BudgetTooSmall) as refused:
        lowering.limited(0, 61, NOW)
    assert refused.value.metadata == {"leastMicros": "61"}
    held = replace(ACTIVE, hold_key="hold")
    assert held.moving(-5, NOW).limited(0, 100, NOW).is_limited
    for campaign, posted, asked in ((held, 0, 101), (replace(held, hold_key=None), 3, 4)):
        with pytest.raises(SpendChanged):
            campaign.moving(-5, NOW).limited(posted, asked, NOW)


@pytest.mark.parametrize(
    ("asked", "budget", "goes_back"), [(0, 100, 50), (100, 100, 50), (120, 120, 30), (150, 150, 0), (999, 150, 0)]
)
def test_of_a_raise_that_was_refused_what_was_delivered_stays_held(asked: int, budget: int, goes_back: int) -> None:
    back = ACTIVE.moving(50, NOW, wanted_budget_micros=150).moving_back(NOW).limited_back(asked, NOW)
    assert (back.budget_micros, back.moving_micros, back.is_limited) == (budget, goes_back, True)


def test_what_is_active_cannot_be_deleted_and_what_was_is_over() -> None:
    with pytest.raises(CampaignStateInvalid, match="a campaign that is ACTIVE cannot be deleted"):
        ACTIVE.check_deletable()
    paused = ACTIVE.paused(Reason.USER, NOW)
    deleted = paused.deleted(NOW + timedelta(days=1))
    assert (deleted.state, deleted.stopped_at, deleted.hold_key) == (State.COMPLETED, NOW, paused.hold_key)
    assert DRAFT.deleted(NOW).state is State.DRAFT
    with pytest.raises(CampaignNotFound):
        deleted.edited({"name": "b"}, "", at=NOW, published=True)


def test_what_is_about_to_be_played_again_can_be_paused() -> None:
    paused = ACTIVE.paused(Reason.USER, NOW)
    with pytest.raises(CampaignStateInvalid):
        paused.check_pausable()
    paused.resuming(NOW).check_pausable()
    assert not paused.resuming(NOW).paused(Reason.USER, NOW).is_resuming


def test_a_draft_is_edited_whole_and_held_to_the_rules_between_fields() -> None:
    assert DRAFT.edited({"budget_micros": 200}, DRAFT.etag, at=NOW, published=False).budget_micros == 200
    with pytest.raises(EtagMismatch):
        DRAFT.edited({"budget_micros": 200}, "other", at=NOW, published=False)
    with pytest.raises(InvalidField):
        DRAFT.edited({"daily_budget_micros": 101}, "", at=NOW, published=False)


def test_not_started_yet_is_seen_from_the_time() -> None:
    campaign = replace(DRAFT, start_time=NOW).active(NOW)
    assert campaign.reasons(NOW - timedelta(seconds=1)) == (Reason.NOT_STARTED_YET,)
    assert campaign.reasons(NOW) == ()
