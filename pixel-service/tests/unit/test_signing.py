"""Postback keys and visitor ids."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from pixel_service.postback_keys import PostbackKeys
from pixel_service.visitor_ids import VisitorIds

KEYS = PostbackKeys(b"k" * 32)


def test_postback_key_is_valid_for_its_own_pixel_only() -> None:
    pixel_id = uuid4()
    key = KEYS.of(pixel_id)
    assert len(key) == 32
    assert KEYS.is_valid(key, pixel_id)
    assert not KEYS.is_valid(key, uuid4())
    assert not PostbackKeys(b"other" * 8).is_valid(key, pixel_id)


def test_similar_postback_keys_are_invalid() -> None:
    pixel_id = uuid4()
    for wrong in ("", KEYS.of(pixel_id)[:-1], KEYS.of(pixel_id) + "A", "ключ", "\ud800"):
        assert not KEYS.is_valid(wrong, pixel_id)


def test_visitor_id_is_stable_within_a_day_only() -> None:
    visitor_ids, noon = VisitorIds(b"k" * 32), datetime(2026, 3, 1, 12, tzinfo=UTC)
    first = visitor_ids.of(noon, "192.0.2.1", "Firefox")
    assert first == visitor_ids.of(noon + timedelta(hours=11, minutes=59), "192.0.2.1", "Firefox")
    assert first != visitor_ids.of(noon + timedelta(hours=12), "192.0.2.1", "Firefox")
    assert first != visitor_ids.of(noon, "192.0.2.2", "Firefox")
    assert first != visitor_ids.of(noon, "192.0.2.1", "Chrome")
    assert first != VisitorIds(b"other" * 8).of(noon, "192.0.2.1", "Firefox")
