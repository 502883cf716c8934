"""One-time links: what they are for, how long they last, what can be wrong with one."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition, InvalidArgument

# With a link of one's own one could otherwise have passwords judged without end.
MAX_TRIES = 10


class Purpose(Enum):
    """What a link does when it is used; a link for one thing is good for no other."""

    VERIFY_EMAIL = "VERIFY_EMAIL"
    RESET_PASSWORD = "RESET_PASSWORD"  # noqa: S105 - the name of a purpose
    CHANGE_EMAIL = "CHANGE_EMAIL"
    INVITATION = "INVITATION"

    @property
    def lifetime(self) -> timedelta:
        """How long a link for this can be used."""
        return _LIFETIMES[self]


_LIFETIMES = {
    Purpose.VERIFY_EMAIL: timedelta(days=3),
    Purpose.RESET_PASSWORD: timedelta(hours=1),
    Purpose.CHANGE_EMAIL: timedelta(hours=1),
    Purpose.INVITATION: timedelta(days=7),
}


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the database knows it; `subject_id` is the person or the invitation it is about."""

    id: UUID
    purpose: Purpose
    subject_id: UUID
    email: str
    expires_at: datetime


class LinkInvalid(InvalidArgument):
    """Malformed, forged, or for something else."""

    reason = ErrorReason.LINK_INVALID

    def __init__(self) -> None:
        super().__init__("the link is not valid; copy it whole, or ask for a new one")


class LinkExpired(FailedPrecondition):
    """Genuine, but too old."""

    reason = ErrorReason.LINK_EXPIRED

    def __init__(self) -> None:
        super().__init__("the link has expired; ask for a new one")


class LinkUsed(FailedPrecondition):
    """Genuine, but used before, tried too often, or replaced by a newer one."""

    reason = ErrorReason.LINK_USED

    def __init__(self) -> None:
        super().__init__("the link was used or tried too often, or a newer one was sent; ask for a new one")
