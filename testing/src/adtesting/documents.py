"""A document store in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from typing_extensions import override

from adlib.clock import Clock, SystemClock
from adlib.documents.protocol import Document, Documents


@dataclass(frozen=True, slots=True)
class _Stored:
    version: int
    data: Document
    expires_at: datetime | None


class MemoryDocuments(Documents):
    """A document store in memory, for one thread."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._documents: dict[tuple[str, str], _Stored] = {}

    @override
    def put(
        self,
        collection: str,
        id: str,
        data: Document,
        version: int | None = None,
        *,
        expires_at: datetime | None = None,
    ) -> bool:
        stored = self._live(collection, id)
        if stored and version is not None and stored.version >= version:
            return False
        if version is None:
            version = max(int(self._clock.now().timestamp() * 1e6), stored.version + 1 if stored else 0)
        self._documents[collection, id] = _Stored(version, dict(data), expires_at)
        return True

    @override
    def update(self, collection: str, id: str, fields: Document) -> Document | None:
        if stored := self._live(collection, id):
            stored = self._documents[collection, id] = replace(stored, data={**stored.data, **fields})
        return stored.data if stored else None

    @override
    def get(self, collection: str, id: str) -> Document | None:
        stored = self._live(collection, id)
        return stored.data if stored else None

    @override
    def list(self, collection: str, limit: int) -> Sequence[tuple[str, Document]]:
        live = [(stored.version, id, stored.data) for (of, id), stored in self._documents.items() if of == collection]
        live.sort(key=lambda one: one[:2], reverse=True)
        return [(id, data) for _, id, data in live if self._live(collection, id)][:limit]

    @override
    def count(self, collection: str, limit: int) -> int:
        return len(self.list(collection, limit))

    @override
    def delete(self, collection: str, id: str) -> bool:
        existed = self._live(collection, id) is not None
        self._documents.pop((collection, id), None)
        return existed

    def _live(self, collection: str, id: str) -> _Stored | None:
        stored = self._documents.get((collection, id))
        if stored and stored.expires_at and stored.expires_at <= self._clock.now():
            return None
        return stored
