"""One-time links: their purposes, lifetimes and errors."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition, InvalidArgument

# Limits how many passwords the holder of a link can have scored.
MAX_ATTEMPTS = 10


class Purpose(Enum):
    """The purpose of a link, which cannot be used for another one."""

    VERIFY_EMAIL = "VERIFY_EMAIL"
    RESET_PASSWORD = "RESET_PASSWORD"  # noqa: S105 - the name of a purpose
    CHANGE_EMAIL = "CHANGE_EMAIL"
    INVITATION = "INVITATION"

    @property
    def lifetime(self) -> timedelta:
        """How long such a link can be used."""
        return _LIFETIMES[self]


_LIFETIMES = {
    Purpose.VERIFY_EMAIL: timedelta(days=3),
    Purpose.RESET_PASSWORD: timedelta(hours=1),
    Purpose.CHANGE_EMAIL: timedelta(hours=1),
    Purpose.INVITATION: timedelta(days=7),
}


@dataclass(frozen=True, slots=True)
class Link:
    """A stored link; `subject_id` is its user or invitation."""

    id: UUID
    purpose: Purpose
    subject_id: UUID
    email: str
    expires_at: datetime


class LinkInvalid(InvalidArgument):
    """The link is malformed, forged, or for another purpose."""

    reason = ErrorReason.LINK_INVALID

    def __init__(self) -> None:
        super().__init__("the link is not valid; copy all of it, or ask for a new one")


class LinkExpired(FailedPrecondition):
    """The link is genuine but has expired."""

    reason = ErrorReason.LINK_EXPIRED

    def __init__(self) -> None:
        super().__init__("the link has expired; ask for a new one")


class LinkUsed(FailedPrecondition):
    """The link is genuine but was used, tried too often, or replaced by a newer one."""

    reason = ErrorReason.LINK_USED

    def __init__(self) -> None:
        super().__init__("the link was used or tried too often, or a newer one was sent; ask for a new one")
