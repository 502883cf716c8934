"""Click ids: only signed ones are valid, for 90 days."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adlib.errors import InvalidField
from adlib.ids import new_id
from pixel_service.click_ids import LIFETIME, Click, ClickIds

CLICK_IDS = ClickIds(b"k" * 32)
ZONES = st.none() | st.uuids()


def verify(text: str, click_ids: ClickIds = CLICK_IDS, at: datetime | None = None) -> Click:
    return click_ids.verify(text, at or datetime.now(UTC), "clickId")


@given(st.uuids(), ZONES)
def test_signed_click_can_be_verified(pixel_id: UUID, zone_id: UUID | None) -> None:
    click = Click(new_id(), pixel_id, zone_id)
    text = CLICK_IDS.sign(click)
    assert verify(text) == click
    assert len(text) == (86 if zone_id else 64)
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.uuids(), st.uuids(), ZONES, st.data())
def test_click_id_with_a_changed_character_is_invalid(
    click_id: UUID, pixel_id: UUID, zone_id: UUID | None, data: st.DataObject
) -> None:
    # All parts are drawn, because hypothesis can reproduce only values that it has drawn.
    text = CLICK_IDS.sign(Click(click_id, pixel_id, zone_id))
    # The last character of the longer form has unused bits.
    at = data.draw(st.integers(0, len(text) - 2))
    other = data.draw(st.sampled_from("Ab0_-").filter(lambda letter: letter != text[at]))
    with pytest.raises(InvalidField, match="clickId is not a click id"):
        verify(text[:at] + other + text[at + 1 :])


@given(st.text(max_size=100))
def test_other_text_is_not_a_click_id(text: str) -> None:
    with pytest.raises(InvalidField):
        verify(text)


def test_click_id_signed_with_another_key_is_invalid() -> None:
    with pytest.raises(InvalidField):
        verify(CLICK_IDS.sign(Click(new_id(), uuid4(), None)), ClickIds(b"other" * 8))


def test_zone_cannot_be_removed_from_a_click_id() -> None:
    text = CLICK_IDS.sign(Click(new_id(), uuid4(), uuid4()))
    with pytest.raises(InvalidField):
        verify(text[:43] + text[-21:])


def test_click_id_expires_after_90_days() -> None:
    click = Click(new_id(), uuid4(), None)
    text = CLICK_IDS.sign(click)
    assert verify(text, at=click.time + LIFETIME) == click
    with pytest.raises(InvalidField, match="expired"):
        verify(text, at=click.time + LIFETIME + timedelta(milliseconds=1))
