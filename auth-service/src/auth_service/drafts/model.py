"""Drafts: forms that a user has started to fill in."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import NotFound

# Unexpired drafts of a user.
MAX_DRAFTS = 100
DEFAULT_LIFETIME = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Draft:
    """An unfinished form; `data` is JSON."""

    id: str
    data: str
    expires_at: datetime
    updated_at: datetime


class DraftNotFound(NotFound):
    """The user has no draft with this id, or it has expired."""

    reason = ErrorReason.DRAFT_NOT_FOUND

    def __init__(self, draft_id: str) -> None:
        super().__init__(f"you have no draft {draft_id}; it may have expired")
