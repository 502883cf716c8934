"""Payment references are found despite what banks do to a text, and never with a wrong character."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from payment_service.providers.wise.messages import storable
from payment_service.providers.wise.references import model as reference

_REFERENCES = st.text(reference.ALPHABET, min_size=8, max_size=8).map(reference.with_check)
_CASES = st.sampled_from([str.upper, str.lower, str.title])
# Text around a reference that cannot be mistaken for a part of it.
_AROUND = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)


@given(_REFERENCES, _CASES, st.lists(st.sampled_from(["", " ", "-", "  ", ".", "/", "\n"]), min_size=12, max_size=12))
def test_reference_is_found_despite_separators(made, case, noise):
    text = "".join(sign + gap for sign, gap in zip(case(made), noise, strict=True))
    assert list(reference.found(text)) == [made]


@given(_REFERENCES, _AROUND, _AROUND)
def test_reference_is_found_anywhere_in_the_text(made, before, after):
    assert made in reference.found(f"{before} {reference.shown(made)} {after}")


@given(_REFERENCES, st.integers(0, 11), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"))
def test_any_single_wrong_character_is_detected(made, place, wrong):
    assume(made[place] != wrong)
    assert list(reference.found(made[:place] + wrong + made[place + 1 :])) == []


@given(_REFERENCES, st.integers(0, 10))
def test_any_two_neighbouring_characters_swapped_are_detected(made, place):
    assume(made[place] != made[place + 1])
    swapped = made[:place] + made[place + 1] + made[place] + made[place + 2 :]
    assert list(reference.found(swapped)) == []


@given(_REFERENCES)
def test_shown_reference_is_in_groups_and_reads_back(made):
    shown = reference.shown(made)
    assert re.fullmatch(r"ADP-\w{4}-\w{4}-\w", shown)
    assert list(reference.found(shown)) == [made]


def test_new_references_differ_and_have_no_characters_that_look_alike():
    made = {reference.new() for _ in range(1000)}
    assert len(made) == 1000
    assert not set("".join(made)) - set(reference.ALPHABET)
    assert not set("01OIL") & set(reference.ALPHABET)


@pytest.mark.parametrize("text", ["", "ADP", "invoice 7", "ADP-0000-0000-0", "ADP-7KQ2-M9XR", "ADP7KQ2M9XRÄ"])
def test_text_without_reference_has_none(text):
    assert list(reference.found(text)) == []


@given(st.text(st.characters(), max_size=20))
def test_sender_text_is_storable_and_retains_its_reference(text):
    made = reference.new()
    cleaned = storable(f"{text} {made}\0\ud800")
    assert made in reference.found(cleaned)
    assert "\0" not in cleaned
    assert cleaned.encode().decode() == cleaned


def test_two_references_in_one_text_are_both_found():
    first, second = reference.new(), reference.new()
    assert list(reference.found(f"{reference.shown(first)} and {second.lower()}")) == [first, second]
