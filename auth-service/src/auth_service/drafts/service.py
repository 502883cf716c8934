"""Stores, reads and deletes drafts."""

from datetime import datetime
from uuid import UUID

from adlib.clock import Clock
from adlib.documents import Documents
from adlib.errors import LimitReached
from auth_service.drafts import store
from auth_service.drafts.model import DEFAULT_LIFETIME, MAX_DRAFTS, Draft, DraftNotFound


class DraftService:
    """The use cases of drafts."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    def put(self, user_id: UUID, draft_id: str, data: str, expires_at: datetime | None) -> Draft:
        """Stores the draft or replaces the one with this id; LIMIT_REACHED.

        The limit is approximate: concurrent calls do not count each other's drafts.
        """
        now = self._clock.now()
        if store.count(self._documents, user_id, MAX_DRAFTS) == MAX_DRAFTS and not store.get(
            self._documents, user_id, draft_id
        ):
            raise LimitReached("drafts of one person", MAX_DRAFTS)
        draft = Draft(draft_id, data, expires_at or now + DEFAULT_LIFETIME, now)
        store.put(self._documents, user_id, draft)
        return draft

    def get(self, user_id: UUID, draft_id: str) -> Draft:
        """The user's draft; DRAFT_NOT_FOUND."""
        if draft := store.get(self._documents, user_id, draft_id):
            return draft
        raise DraftNotFound(draft_id)

    def delete(self, user_id: UUID, draft_id: str) -> None:
        """Deletes the user's draft; DRAFT_NOT_FOUND."""
        if not store.delete(self._documents, user_id, draft_id):
            raise DraftNotFound(draft_id)
