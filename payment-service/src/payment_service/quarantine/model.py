"""Items of the reconciliation job that fail repeatedly, and when the job stops retrying them."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import AppError, NotFound

# An unexpected error may be fixed by a new release, so it is retried for a while: five runs take 25 minutes.
MAX_FAILURES = 5
# The time for which the task queue retries, too.
MAX_OUTAGE = timedelta(days=3)
_PERMANENT_CODES = frozenset({"INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED"})
_TRANSIENT_CODES = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "RESOURCE_EXHAUSTED"})


class Kind(StrEnum):
    """The kind of item."""

    EVENT = "EVENT"
    PAYMENT = "PAYMENT"
    REFUND = "REFUND"
    PAYOUT = "PAYOUT"
    RESERVATION = "RESERVATION"


class Fault(StrEnum):
    """Whether a retry may succeed: PERMANENT no, TRANSIENT yes, UNEXPECTED perhaps."""

    PERMANENT = "PERMANENT"
    TRANSIENT = "TRANSIENT"
    UNEXPECTED = "UNEXPECTED"


def fault_of(error: Exception) -> Fault:
    """Classifies the error."""
    code = error.code.name if isinstance(error, AppError) else ""
    if code in _PERMANENT_CODES:
        return Fault.PERMANENT
    return Fault.TRANSIENT if code in _TRANSIENT_CODES else Fault.UNEXPECTED


class ItemNotFound(NotFound):
    """The item is not in quarantine."""

    reason = ErrorReason.QUARANTINED_ITEM_NOT_FOUND

    def __init__(self, id: UUID) -> None:
        super().__init__("there is no such item in quarantine", id=id)


@dataclass(frozen=True, slots=True)
class ItemKey:
    """Identifies an item: `subject` is its id, for an event the provider's; `provider` is set only for events."""

    kind: Kind
    subject: str
    provider: str = ""


@dataclass(frozen=True, slots=True)
class FailingItem:
    """An item that has failed; in quarantine if `quarantined_at` is set. `error_reason` is the contract's."""

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

    def with_fault(self, fault: Fault, *, is_outage_tolerated: bool) -> Self:
        """Quarantined once the fault's limit is reached; `is_outage_tolerated`: transient faults have no limit."""
        match fault:
            case Fault.PERMANENT:
                is_exhausted = True
            case Fault.UNEXPECTED:
                is_exhausted = self.failure_count >= MAX_FAILURES
            case Fault.TRANSIENT:
                is_exhausted = not is_outage_tolerated and self.last_failed_at - self.first_failed_at >= MAX_OUTAGE
        return replace(self, quarantined_at=self.last_failed_at) if is_exhausted else self

    def discarded(self, reason: str, at: datetime) -> Self:
        """Discarded permanently; a repeat does not change the reason."""
        return self if self.discarded_at else replace(self, discarded_at=at, discard_reason=reason)
