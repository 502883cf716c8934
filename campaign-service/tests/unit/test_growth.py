"""What a reading adds."""

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from campaign_service.stats.model import Figures, Slot, growth, within_room

DAY = date(2030, 1, 15)
SLOTS: list[Slot] = [(DAY, ""), (DAY, "zone"), (date(2030, 1, 14), "")]
counts = st.integers(0, 10**15)
figures = st.builds(Figures, counts, counts, counts, counts)
readings = st.dictionaries(st.sampled_from(SLOTS), figures)


@given(st.lists(readings, max_size=8))
def test_any_readings_ask_for_exactly_the_high_water_mark(sequence: list[dict[Slot, Figures]]) -> None:
    known: dict[Slot, Figures] = {}
    asked: dict[Slot, int] = {}
    for read in sequence:
        grown = growth(known, asked, read)
        known |= grown.figures
        for slot, owed in grown.owed_micros.items():
            assert owed > 0
            asked[slot] = asked.get(slot, 0) + owed
        again = growth(known, asked, read)
        assert (again.figures, again.owed_micros) == ({}, {})
    for slot in SLOTS:
        seen = [read[slot] for read in sequence if slot in read]
        assert asked.get(slot, 0) == max((one.spend_micros for one in seen), default=0)
        for name in ("impressions", "clicks", "conversions", "spend_micros"):
            assert getattr(known.get(slot, Figures()), name) == max((getattr(one, name) for one in seen), default=0)


def test_figures_without_spend_ask_for_nothing() -> None:
    grown = growth({}, {}, {(DAY, ""): Figures(impressions=10)})
    assert grown.figures == {(DAY, ""): Figures(impressions=10)}
    assert grown.owed_micros == {}


def test_what_was_stored_but_never_asked_for_is_asked_for() -> None:
    spent = {(DAY, ""): Figures(spend_micros=10)}
    grown = growth(spent, {(DAY, ""): 4}, spent)
    assert (grown.figures, grown.owed_micros) == ({}, {(DAY, ""): 6})


@given(st.dictionaries(st.sampled_from(SLOTS), st.integers(1, 10**15)), st.integers(-5, 10**16))
def test_what_is_asked_for_fills_the_room_there_is(owed: dict[Slot, int], room: int) -> None:
    kept = within_room(owed, room)
    assert sum(kept.values()) == min(sum(owed.values()), max(room, 0))
    assert all(0 < micros <= owed[slot] for slot, micros in kept.items())
