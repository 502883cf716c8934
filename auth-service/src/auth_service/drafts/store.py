"""Drafts as documents, one collection per user."""

from datetime import datetime
from uuid import UUID

from adlib.documents import Documents
from auth_service.drafts.model import Draft


def _collection(user_id: UUID) -> str:
    return f"temp_data/{user_id}/drafts"


def put(documents: Documents, user_id: UUID, draft: Draft) -> None:
    """Stores the draft or replaces the one with its id."""
    data = {
        "formData": draft.data,
        "expiresAt": draft.expires_at.isoformat(),
        "updatedAt": draft.updated_at.isoformat(),
    }
    documents.put(_collection(user_id), draft.id, data, expires_at=draft.expires_at)


def get(documents: Documents, user_id: UUID, draft_id: str) -> Draft | None:
    """The user's draft, unless it has expired."""
    data = documents.get(_collection(user_id), draft_id)
    if data is None:
        return None
    expires_at, updated_at = (datetime.fromisoformat(data[name]) for name in ("expiresAt", "updatedAt"))
    return Draft(draft_id, data["formData"], expires_at, updated_at)


def count(documents: Documents, user_id: UUID, limit: int) -> int:
    """The number of the user's drafts, counted up to the limit."""
    return documents.count(_collection(user_id), limit)


def delete(documents: Documents, user_id: UUID, draft_id: str) -> bool:
    """Deletes the user's draft; returns whether it existed."""
    return documents.delete(_collection(user_id), draft_id)
