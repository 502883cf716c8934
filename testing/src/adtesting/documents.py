"""Documents in a dictionary, for tests of what keeps them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from adlib.clock import Clock, SystemClock
from adlib.documents.protocol import Document


@dataclass(frozen=True, slots=True)
class _Kept:
    version: int
    data: Document
    expires_at: datetime | None


class MemoryDocuments:
    """Keeps them as long as the process lives; for one thread."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._kept: dict[tuple[str, str], _Kept] = {}

    def put(
        self,
        collection: str,
        id: str,
        data: Document,
        version: int | None = None,
        *,
        expires_at: datetime | None = None,
    ) -> bool:
        """Stores the document unless one of this version or a later one is there; whether it did."""
        kept = self._live(collection, id)
        if kept and version is not None and kept.version >= version:
            return False
        if version is None:
            version = max(int(self._clock.now().timestamp() * 1e6), kept.version + 1 if kept else 0)
        self._kept[collection, id] = _Kept(version, dict(data), expires_at)
        return True

    def update(self, collection: str, id: str, fields: Document) -> Document | None:
        """Sets these fields and leaves the others, the version and the expiry; the whole after it, or None."""
        if kept := self._live(collection, id):
            kept = self._kept[collection, id] = replace(kept, data={**kept.data, **fields})
        return kept.data if kept else None

    def get(self, collection: str, id: str) -> Document | None:
        """The document, or None."""
        kept = self._live(collection, id)
        return kept.data if kept else None

    def list(self, collection: str, limit: int) -> Sequence[tuple[str, Document]]:
        """Ids and documents, the latest version first."""
        live = [(kept.version, id, kept.data) for (of, id), kept in self._kept.items() if of == collection]
        live.sort(key=lambda one: one[:2], reverse=True)
        return [(id, data) for _, id, data in live if self._live(collection, id)][:limit]

    def count(self, collection: str, limit: int) -> int:
        """How many there are, counted up to the limit."""
        return len(self.list(collection, limit))

    def delete(self, collection: str, id: str) -> bool:
        """Deletes the document; whether there was one."""
        there = self._live(collection, id) is not None
        self._kept.pop((collection, id), None)
        return there

    def _live(self, collection: str, id: str) -> _Kept | None:
        kept = self._kept.get((collection, id))
        if kept and kept.expires_at and kept.expires_at <= self._clock.now():
            return None
        return kept
