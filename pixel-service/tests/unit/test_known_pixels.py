"""What tracking remembers of pixels."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from adlib.errors import Unavailable
from pixel_service.pixels.known import KnownPixels
from pixel_service.pixels.model import Pixel


class Pixels:
    """A store that can be out of reach."""

    def __init__(self) -> None:
        self.kept: dict[UUID, Pixel] = {}
        self.down = False
        self.asked = 0

    def find(self, pixel_id: UUID) -> Pixel | None:
        self.asked += 1
        if self.down:
            raise Unavailable("the database does not answer; try again")
        return self.kept.get(pixel_id)


@pytest.fixture
def pixels() -> Pixels:
    return Pixels()


@pytest.fixture
def pixel(pixels: Pixels) -> Pixel:
    made = Pixel(uuid4(), uuid4(), uuid4(), "p", ("conversion",), "https://a.example", "USD", datetime.now(UTC))
    pixels.kept[made.id] = made
    return made


def test_a_deleted_pixel_is_forgotten_within_seconds(pixels: Pixels, pixel: Pixel) -> None:
    now = [0.0]
    known = KnownPixels(pixels.find, now=lambda: now[0])
    assert known.get(pixel.id) == pixel
    del pixels.kept[pixel.id]
    now[0] = 1.9
    assert known.get(pixel.id) == pixel
    now[0] = 2.1
    assert known.get(pixel.id) is None
    assert pixels.asked == 2


def test_a_known_pixel_stays_known_while_the_database_is_away(pixels: Pixels, pixel: Pixel) -> None:
    now = [0.0]
    known = KnownPixels(pixels.find, now=lambda: now[0])
    known.get(pixel.id)
    pixels.down, now[0] = True, 100.0
    assert known.get(pixel.id) == pixel
    with pytest.raises(Unavailable):
        known.get(uuid4())


def test_it_remembers_no_more_than_its_limit(pixels: Pixels, pixel: Pixel) -> None:
    known = KnownPixels(pixels.find, limit=2)
    for pixel_id in (pixel.id, uuid4(), uuid4()):
        known.get(pixel_id)
    assert not known.is_fresh(pixel.id)
