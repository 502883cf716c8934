"""Reads and replaces preferences."""

from uuid import UUID

from adlib.documents import Documents
from auth_service.preferences import store
from auth_service.preferences.model import Preferences


class PreferenceService:
    """The use cases of preferences."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def get(self, user_id: UUID) -> Preferences:
        """The user's preferences."""
        return store.get(self._documents, user_id)

    def put(self, user_id: UUID, preferences: Preferences) -> Preferences:
        """Replaces the user's preferences."""
        store.put(self._documents, user_id, preferences)
        return preferences
