"""A customer's refund request and its life cycle."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition, NotFound


class State(StrEnum):
    """The state of a refund request."""

    REQUESTED = "REQUESTED"
    ACCEPTED = "ACCEPTED"
    DECLINED = "DECLINED"
    WITHDRAWN = "WITHDRAWN"


class RefundAlreadyRequested(FailedPrecondition):
    """The payment already has an open request."""

    reason = ErrorReason.REFUND_ALREADY_REQUESTED

    def __init__(self, request_id: UUID) -> None:
        super().__init__("a refund of the payment is requested already; withdraw that first", requestId=request_id)


class RefundRequestNotFound(NotFound):
    """There is no such request, or the caller may not see it."""

    reason = ErrorReason.REFUND_REQUEST_NOT_FOUND

    def __init__(self, request_id: UUID) -> None:
        super().__init__("there is no such refund request", requestId=request_id)


class RefundRequestClosed(FailedPrecondition):
    """The request is accepted, declined or withdrawn."""

    reason = ErrorReason.REFUND_REQUEST_CLOSED

    def __init__(self, request_id: UUID, state: State) -> None:
        super().__init__(f"a refund request that is {state} cannot be changed", requestId=request_id, state=state.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRequest:
    """A customer's request to refund an amount of a payment; nothing is reserved for it."""

    id: UUID
    payment_id: UUID
    organization_id: UUID
    amount_micros: int
    currency_code: str
    state: State
    reason: str
    decline_reason: str = ""
    refund_id: UUID | None = None
    asked_by: UUID | None
    created_at: datetime
    updated_at: datetime

    def withdrawn(self, at: datetime) -> Self:
        """WITHDRAWN by the customer; REFUND_REQUEST_CLOSED."""
        return self._closed(State.WITHDRAWN, "", at)

    def declined(self, reason: str, at: datetime) -> Self:
        """DECLINED by staff; REFUND_REQUEST_CLOSED."""
        return self._closed(State.DECLINED, reason, at)

    def accepted(self, refund_id: UUID, at: datetime) -> Self:
        """ACCEPTED by the refund."""
        return replace(self, state=State.ACCEPTED, refund_id=refund_id, updated_at=at)

    def reopened(self, at: datetime) -> Self:
        """REQUESTED again, because its refund failed."""
        return replace(self, state=State.REQUESTED, refund_id=None, updated_at=at)

    def _closed(self, state: State, decline_reason: str, at: datetime) -> Self:
        if self.state is state:
            return self
        if self.state is not State.REQUESTED:
            raise RefundRequestClosed(self.id, self.state)
        return replace(self, state=state, decline_reason=decline_reason, updated_at=at)
