"""The cache of pixels for tracking requests."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from adlib.errors import Unavailable
from pixel_service.pixel_lookup.service import PixelLookup
from pixel_service.pixels.model import Pixel


class FakePixels:
    """A store that can be unavailable."""

    def __init__(self) -> None:
        self.rows: dict[UUID, Pixel] = {}
        self.is_down = False
        self.queries = 0

    def find(self, pixel_id: UUID) -> Pixel | None:
        self.queries += 1
        if self.is_down:
            raise Unavailable("the database does not answer; try again")
        return self.rows.get(pixel_id)


@pytest.fixture
def pixels() -> FakePixels:
    return FakePixels()


@pytest.fixture
def pixel(pixels: FakePixels) -> Pixel:
    made = Pixel(uuid4(), uuid4(), uuid4(), "p", ("conversion",), "https://a.example", "USD", datetime.now(UTC))
    pixels.rows[made.id] = made
    return made


def test_deleted_pixel_expires_within_seconds(pixels: FakePixels, pixel: Pixel) -> None:
    now = [0.0]
    lookup = PixelLookup(pixels.find, now=lambda: now[0])
    assert lookup.get(pixel.id) == pixel
    del pixels.rows[pixel.id]
    now[0] = 1.9
    assert lookup.get(pixel.id) == pixel
    now[0] = 2.1
    assert lookup.get(pixel.id) is None
    assert pixels.queries == 2


def test_expired_entry_is_used_while_the_database_is_down(pixels: FakePixels, pixel: Pixel) -> None:
    now = [0.0]
    lookup = PixelLookup(pixels.find, now=lambda: now[0])
    lookup.get(pixel.id)
    pixels.is_down, now[0] = True, 100.0
    assert lookup.get(pixel.id) == pixel
    with pytest.raises(Unavailable):
        lookup.get(uuid4())


def test_oldest_entry_is_evicted_at_the_limit(pixels: FakePixels, pixel: Pixel) -> None:
    lookup = PixelLookup(pixels.find, max_cached=2)
    for pixel_id in (pixel.id, uuid4(), uuid4()):
        lookup.get(pixel_id)
    assert not lookup.is_cached(pixel.id)
