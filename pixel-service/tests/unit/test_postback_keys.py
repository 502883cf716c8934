"""Postback keys, and what else is derived from the signing key."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from pixel_service.signing.postback_keys import PostbackKeys
from pixel_service.signing.visitors import Visitors

KEYS = PostbackKeys(b"k" * 32)


def test_a_key_opens_its_own_pixel_alone() -> None:
    pixel_id = uuid4()
    key = KEYS.of(pixel_id)
    assert len(key) == 32
    assert KEYS.fits(key, pixel_id)
    assert not KEYS.fits(key, uuid4())
    assert not PostbackKeys(b"other" * 8).fits(key, pixel_id)


def test_what_resembles_a_key_is_none() -> None:
    pixel_id = uuid4()
    for wrong in ("", KEYS.of(pixel_id)[:-1], KEYS.of(pixel_id) + "A", "ключ", "\ud800"):
        assert not KEYS.fits(wrong, pixel_id)


def test_a_visitor_is_known_for_a_day_and_no_longer() -> None:
    visitors, noon = Visitors(b"k" * 32), datetime(2026, 3, 1, 12, tzinfo=UTC)
    known = visitors.id(noon, "192.0.2.1", "Firefox")
    assert known == visitors.id(noon + timedelta(hours=11, minutes=59), "192.0.2.1", "Firefox")
    assert known != visitors.id(noon + timedelta(hours=12), "192.0.2.1", "Firefox")
    assert known != visitors.id(noon, "192.0.2.2", "Firefox")
    assert known != visitors.id(noon, "192.0.2.1", "Chrome")
    assert known != Visitors(b"other" * 8).id(noon, "192.0.2.1", "Firefox")
