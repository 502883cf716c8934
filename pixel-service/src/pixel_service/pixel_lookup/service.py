"""Pixels for tracking requests, cached for two seconds, so that a deleted pixel stops counting within seconds."""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from uuid import UUID

from prometheus_client import Counter

from adlib.errors import Unavailable
from pixel_service.pixels.model import Pixel

_CACHE_TTL_S = 2.0
_MAX_CACHED = 50_000

_stale = Counter("pixel_lookups_stale_total", "Lookups answered from the expired cache while the database was down")


class PixelLookup:
    """Finds pixels of every organization, and caches unknown ids too."""

    def __init__(
        self,
        find: Callable[[UUID], Pixel | None],
        *,
        max_cached: int = _MAX_CACHED,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find = find
        self._max_cached = max_cached
        self._now = now
        self._cache: OrderedDict[UUID, tuple[Pixel | None, float]] = OrderedDict()
        self._lock = Lock()

    def is_cached(self, pixel_id: UUID) -> bool:
        """Whether `get` would answer without the database."""
        cached = self._cache.get(pixel_id)
        return cached is not None and cached[1] > self._now()

    def get(self, pixel_id: UUID) -> Pixel | None:
        """The pixel, or None. While the database is down, an expired entry is used; UNAVAILABLE without one."""
        cached = self._cache.get(pixel_id)
        if cached is not None and cached[1] > self._now():
            return cached[0]
        try:
            pixel = self._find(pixel_id)
        except Unavailable:
            if cached is None or cached[0] is None:
                raise
            _stale.inc()
            pixel = cached[0]
        with self._lock:
            self._cache[pixel_id] = (pixel, self._now() + _CACHE_TTL_S)
            self._cache.move_to_end(pixel_id)
            if len(self._cache) > self._max_cached:
                self._cache.popitem(last=False)
        return pixel
