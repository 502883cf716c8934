"""Click ids: only what was signed, only for 90 days."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adlib.errors import InvalidField
from adlib.ids import new_id
from pixel_service.signing.click_ids import LIFETIME, Click, ClickIds

CLICKS = ClickIds(b"k" * 32)
ZONES = st.none() | st.uuids()


def read(text: str, clicks: ClickIds = CLICKS, at: datetime | None = None) -> Click:
    return clicks.read(text, at or datetime.now(UTC), "clickId")


@given(st.uuids(), ZONES)
def test_a_click_comes_back_as_it_was_signed(pixel_id: UUID, zone_id: UUID | None) -> None:
    click = Click(new_id(), pixel_id, zone_id)
    text = CLICKS.sign(click)
    assert read(text) == click
    assert len(text) == (86 if zone_id else 64)
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.uuids(), st.uuids(), ZONES, st.data())
def test_a_changed_click_id_is_none(click_id: UUID, pixel_id: UUID, zone_id: UUID | None, data: st.DataObject) -> None:
    # Drawn, all of it: what is drawn next depends on the text, and a random one cannot be drawn again.
    text = CLICKS.sign(Click(click_id, pixel_id, zone_id))
    # The last character of the longer form has bits that stand for nothing.
    at = data.draw(st.integers(0, len(text) - 2))
    other = data.draw(st.sampled_from("Ab0_-").filter(lambda letter: letter != text[at]))
    with pytest.raises(InvalidField, match="clickId is no click id"):
        read(text[:at] + other + text[at + 1 :])


@given(st.text(max_size=100))
def test_no_other_text_is_a_click_id(text: str) -> None:
    with pytest.raises(InvalidField):
        read(text)


def test_another_platforms_click_id_is_none() -> None:
    with pytest.raises(InvalidField):
        read(CLICKS.sign(Click(new_id(), uuid4(), None)), ClickIds(b"other" * 8))


def test_a_zone_cannot_be_cut_off() -> None:
    text = CLICKS.sign(Click(new_id(), uuid4(), uuid4()))
    with pytest.raises(InvalidField):
        read(text[:43] + text[-21:])


def test_a_click_id_expires_after_90_days() -> None:
    click = Click(new_id(), uuid4(), None)
    text = CLICKS.sign(click)
    assert read(text, at=click.time + LIFETIME) == click
    with pytest.raises(InvalidField, match="expired"):
        read(text, at=click.time + LIFETIME + timedelta(milliseconds=1))
