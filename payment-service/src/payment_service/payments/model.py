"""A deposit's life, and what a provider says of it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition, InvalidArgument, NotFound
from adlib.money import to_minor

# An abandoned payment is closed at the provider after this time, so that the job need not ask for it for ever.
ABANDONED_AFTER = timedelta(hours=24)


class State(StrEnum):
    """Where a payment is in its life."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    REFUNDED = "REFUNDED"
    DISPUTED = "DISPUTED"


# News may come late, twice and in any order, so a payment only ever moves up. A declined one can still be paid.
_RANK = {
    State.PENDING: 0, State.PROCESSING: 1, State.FAILED: 2, State.EXPIRED: 3, State.SUCCEEDED: 4, State.REFUNDED: 5,
    State.DISPUTED: 5,
}  # fmt: skip


class PaymentNotFound(NotFound):
    """No such payment in the organization."""

    reason = ErrorReason.PAYMENT_NOT_FOUND

    def __init__(self, payment_id: UUID) -> None:
        super().__init__("there is no such payment", paymentId=payment_id)


class ProviderNotAvailable(InvalidArgument):
    """Not configured on this platform."""

    reason = ErrorReason.PROVIDER_NOT_AVAILABLE

    def __init__(self, provider: str, known: str) -> None:
        super().__init__(f"provider {provider} cannot be paid with here; use {known or 'none'}", provider=provider)


class ProviderRejected(FailedPrecondition):
    """The provider refused; the message is the provider's own."""

    reason = ErrorReason.PROVIDER_REJECTED

    def __init__(self, message: str) -> None:
        super().__init__(f"the payment provider refused: {message}")
        self.said = message


@dataclass(frozen=True, slots=True)
class Report:
    """How a payment stands at its provider, in the currency's minor units.

    `client_secret` is what the customer's browser needs to pay.
    """

    external_id: str
    state: State
    amount_minor: int
    currency_code: str
    failure_message: str = ""
    client_secret: str = ""


@dataclass(frozen=True, slots=True)
class Payment:
    """One deposit."""

    id: UUID
    organization_id: UUID
    provider: str
    state: State
    amount_micros: int
    currency_code: str
    idempotency_key: str | None
    external_id: str | None
    failure_message: str
    created_at: datetime
    updated_at: datetime

    def asks_the_same(self, other: "Payment") -> bool:
        """Whether both were asked for with the same body."""
        return (self.provider, self.amount_micros, self.currency_code) == (
            other.provider,
            other.amount_micros,
            other.currency_code,
        )

    def is_abandoned(self, at: datetime) -> bool:
        """Whether nobody is expected to pay it any more."""
        return self.state is State.PENDING and at - self.created_at > ABANDONED_AFTER

    def known_as(self, external_id: str) -> "Payment":
        """With the provider's id for it."""
        return replace(self, external_id=self.external_id or external_id)

    def rejected(self, message: str, at: datetime) -> "Payment":
        """The provider refused to open it."""
        return replace(self, state=State.FAILED, failure_message=message, updated_at=at)

    def told(self, report: Report, at: datetime) -> "Payment":
        """As the report says, unless more is known already.

        Paid in another amount or currency than was asked for: FAILED, for staff to look at.
        """
        state, message = report.state, report.failure_message
        if state is State.SUCCEEDED and not self._is_paid_by(report):
            state = State.FAILED
            message = (
                f"paid {report.amount_minor} {report.currency_code} instead of {self._amount_minor()} "
                f"{self.currency_code}, in minor units; contact support"
            )
        if _RANK[state] < _RANK[self.state] or (state, message) == (self.state, self.failure_message):
            return self
        return replace(self, state=state, failure_message=message, updated_at=at)

    def _is_paid_by(self, report: Report) -> bool:
        return (report.amount_minor, report.currency_code) == (self._amount_minor(), self.currency_code)

    def _amount_minor(self) -> int:
        return to_minor(self.amount_micros, self.currency_code)
