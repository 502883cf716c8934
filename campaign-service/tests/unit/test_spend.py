"""The spend that reported figures add."""

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from campaign_service.spend.model import capped_to_budget, unrequested
from campaign_service.stats.model import Figures, Slot, increases

DAY = date(2030, 1, 15)
SLOTS: list[Slot] = [(DAY, ""), (DAY, "zone"), (date(2030, 1, 14), "")]
counts = st.integers(0, 10**15)
figures = st.builds(Figures, counts, counts, counts, counts)
reports = st.dictionaries(st.sampled_from(SLOTS), figures)


@given(st.lists(reports, max_size=8))
def test_requested_spend_equals_the_highest_reported_figure(sequence: list[dict[Slot, Figures]]) -> None:
    stored: dict[Slot, Figures] = {}
    requested: dict[Slot, int] = {}
    for reported in sequence:
        increased, amounts = increases(stored, reported), unrequested(stored, requested, reported)
        stored |= increased
        for slot, amount in amounts.items():
            assert amount > 0
            requested[slot] = requested.get(slot, 0) + amount
        assert (increases(stored, reported), unrequested(stored, requested, reported)) == ({}, {})
    for slot in SLOTS:
        seen = [reported[slot] for reported in sequence if slot in reported]
        assert requested.get(slot, 0) == max((one.spend_micros for one in seen), default=0)
        for name in ("impressions", "clicks", "conversions", "spend_micros"):
            assert getattr(stored.get(slot, Figures()), name) == max((getattr(one, name) for one in seen), default=0)


def test_figures_without_spend_request_nothing() -> None:
    reported = {(DAY, ""): Figures(impressions=10)}
    assert increases({}, reported) == reported
    assert unrequested({}, {}, reported) == {}


def test_stored_spend_without_a_posting_is_requested() -> None:
    spent = {(DAY, ""): Figures(spend_micros=10)}
    assert increases(spent, spent) == {}
    assert unrequested(spent, {(DAY, ""): 4}, spent) == {(DAY, ""): 6}


@given(st.dictionaries(st.sampled_from(SLOTS), st.integers(1, 10**15)), st.integers(-5, 10**16))
def test_requested_amounts_are_capped_to_the_remaining_budget(amounts: dict[Slot, int], remaining: int) -> None:
    capped = capped_to_budget(amounts, remaining)
    assert sum(capped.values()) == min(sum(amounts.values()), max(remaining, 0))
    assert all(0 < micros <= amounts[slot] for slot, micros in capped.items())
