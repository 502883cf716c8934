"""Drafts: forms that a person has begun to fill in."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import NotFound

# A person's, that have not expired.
MOST = 100
LIFETIME = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Draft:
    """A form that is not finished; `data` is JSON."""

    id: str
    data: str
    expires_at: datetime
    updated_at: datetime


class DraftNotFound(NotFound):
    """No draft of the person's own has this id, or it has expired."""

    reason = ErrorReason.DRAFT_NOT_FOUND

    def __init__(self, draft_id: str) -> None:
        super().__init__(f"you have no draft {draft_id}; it may have expired")
