"""Preferences as documents, one per user."""

from uuid import UUID

from adlib.documents import Documents
from auth_service.preferences.model import Preferences

_COLLECTION = "user_preferences"


def put(documents: Documents, user_id: UUID, preferences: Preferences) -> None:
    """Stores or replaces the preferences."""
    data = {
        "theme": preferences.theme,
        "language": preferences.language,
        "notifications": preferences.notifications,
        "dashboardLayout": preferences.dashboard_layout,
    }
    documents.put(_COLLECTION, str(user_id), data)


def get(documents: Documents, user_id: UUID) -> Preferences:
    """The user's preferences, or the defaults."""
    data = documents.get(_COLLECTION, str(user_id))
    if data is None:
        return Preferences()
    return Preferences(data["theme"], data["language"], data["notifications"], data["dashboardLayout"])
