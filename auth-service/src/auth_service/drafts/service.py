"""Keeping, reading and deleting drafts."""

from datetime import datetime
from uuid import UUID

from adlib.clock import Clock
from adlib.documents import Documents
from adlib.errors import LimitReached
from auth_service.drafts import store
from auth_service.drafts.model import LIFETIME, MOST, Draft, DraftNotFound


class DraftService:
    """The use cases of a person's drafts."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    def put(self, user_id: UUID, draft_id: str, data: str, expires_at: datetime | None) -> Draft:
        """Keeps the draft in place of the one with this id; LIMIT_REACHED.

        Drafts that are put at the same moment do not count each other: the limit keeps them few, not exact.
        """
        now = self._clock.now()
        if store.count(self._documents, user_id, MOST) == MOST and not store.get(self._documents, user_id, draft_id):
            raise LimitReached("drafts of one person", MOST)
        draft = Draft(draft_id, data, expires_at or now + LIFETIME, now)
        store.put(self._documents, user_id, draft)
        return draft

    def get(self, user_id: UUID, draft_id: str) -> Draft:
        """The person's draft; DRAFT_NOT_FOUND."""
        if draft := store.get(self._documents, user_id, draft_id):
            return draft
        raise DraftNotFound(draft_id)

    def delete(self, user_id: UUID, draft_id: str) -> None:
        """Deletes the person's draft; DRAFT_NOT_FOUND."""
        if not store.delete(self._documents, user_id, draft_id):
            raise DraftNotFound(draft_id)
