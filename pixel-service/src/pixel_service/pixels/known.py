"""Pixels as tracking knows them: remembered for two seconds, so a deleted one stops within seconds."""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from uuid import UUID

from prometheus_client import Counter

from adlib.errors import Unavailable
from pixel_service.pixels.model import Pixel

_FRESH_S = 2.0
_LIMIT = 50_000

_stale = Counter("pixel_lookups_stale_total", "Pixels answered from memory because the database did not answer")


class KnownPixels:
    """Looks pixels up, whosever they are; also remembers what is none."""

    def __init__(
        self, find: Callable[[UUID], Pixel | None], *, limit: int = _LIMIT, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._find = find
        self._limit = limit
        self._now = now
        self._known: OrderedDict[UUID, tuple[Pixel | None, float]] = OrderedDict()
        self._lock = Lock()

    def is_fresh(self, pixel_id: UUID) -> bool:
        """Whether `get` would answer from memory."""
        known = self._known.get(pixel_id)
        return known is not None and known[1] > self._now()

    def get(self, pixel_id: UUID) -> Pixel | None:
        """The pixel, or None. While the database does not answer, a pixel that was known stays so. UNAVAILABLE."""
        known = self._known.get(pixel_id)
        if known is not None and known[1] > self._now():
            return known[0]
        try:
            pixel = self._find(pixel_id)
        except Unavailable:
            if known is None or known[0] is None:
                raise
            _stale.inc()
            pixel = known[0]
        with self._lock:
            self._known[pixel_id] = (pixel, self._now() + _FRESH_S)
            self._known.move_to_end(pixel_id)
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
        return pixel
