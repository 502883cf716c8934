"""Items of the settlement job that fail again and again, and when the job stops trying them."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import AppError, NotFound

# A new release may mend what is unforeseen, so it is tried for a while: five runs are 25 minutes.
MAX_TRIES = 5
# As long as the work queue tries what does not answer.
MAX_OUTAGE = timedelta(days=3)
_PERMANENT = frozenset({"INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED"})
_PASSING = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "RESOURCE_EXHAUSTED"})


class Kind(StrEnum):
    """What an item is."""

    EVENT = "EVENT"
    PAYMENT = "PAYMENT"
    REFUND = "REFUND"
    PAYOUT = "PAYOUT"
    RESERVATION = "RESERVATION"


class Fault(StrEnum):
    """Whether an error may be another one, or none, the next time."""

    PERMANENT = "PERMANENT"
    PASSING = "PASSING"
    UNFORESEEN = "UNFORESEEN"


def fault_of(error: Exception) -> Fault:
    """What kind of fault an error is."""
    code = error.code.name if isinstance(error, AppError) else ""
    if code in _PERMANENT:
        return Fault.PERMANENT
    return Fault.PASSING if code in _PASSING else Fault.UNFORESEEN


class ItemNotFound(NotFound):
    """Not in quarantine."""

    reason = ErrorReason.QUARANTINED_ITEM_NOT_FOUND

    def __init__(self, id: UUID) -> None:
        super().__init__("there is no such item in quarantine", id=id)


@dataclass(frozen=True, slots=True)
class ItemKey:
    """Which item it is: `subject` is its id, of an event its provider's id of it; `provider` only of events."""

    kind: Kind
    subject: str
    provider: str = ""


@dataclass(frozen=True, slots=True)
class FailingItem:
    """An item that has failed; in quarantine where `quarantined_at` is set. `error_reason` is of the contract."""

    id: UUID
    key: ItemKey
    failure_count: int
    last_error: str
    error_reason: str
    first_failed_at: datetime
    last_failed_at: datetime
    quarantined_at: datetime | None = None
    discarded_at: datetime | None = None
    discard_reason: str = ""

    def judged(self, fault: Fault, *, is_waited_for: bool) -> Self:
        """In quarantine from now on where it has been tried enough; an outage is never enough where `is_waited_for`."""
        match fault:
            case Fault.PERMANENT:
                is_over = True
            case Fault.UNFORESEEN:
                is_over = self.failure_count >= MAX_TRIES
            case Fault.PASSING:
                is_over = not is_waited_for and self.last_failed_at - self.first_failed_at >= MAX_OUTAGE
        return replace(self, quarantined_at=self.last_failed_at) if is_over else self

    def discarded(self, reason: str, at: datetime) -> Self:
        """Left alone for good; a repeat keeps the first reason."""
        return self if self.discarded_at else replace(self, discarded_at=at, discard_reason=reason)
