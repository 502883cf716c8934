"""The rules of a campaign's life."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from adlib.errors import InvalidField
from campaign_service.campaigns.model import (
    Campaign,
    CampaignEnded,
    CampaignStateInvalid,
    EtagMismatch,
    FieldLocked,
    Reason,
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


@pytest.mark.parametrize(
    ("campaign", "published"),
    [
        (DRAFT.starting(NOW), False),
        (DRAFT, True),
        (DRAFT.active(NOW), True),
        (DRAFT.active(NOW).paused(Reason.USER, NOW), True),
    ],
)
def test_money_is_locked_from_the_first_attempt_at_starting(campaign: Campaign, published: bool) -> None:
    with pytest.raises(FieldLocked):
        campaign.edited({"budget_micros": 200}, "", at=NOW, published=published)
    assert campaign.edited({"budget_micros": 100, "name": "b"}, "", at=NOW, published=published).name == "b"


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
