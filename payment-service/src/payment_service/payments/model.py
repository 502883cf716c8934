"""A payment's life cycle, and the provider reports about it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition, InvalidArgument, NotFound
from adlib.money import MICROS, micros_per_minor, to_decimal

# Closes payments whose provider sets no expiry, so that they are not polled forever.
ABANDONED_AFTER = timedelta(hours=24)


class State(StrEnum):
    """The state of a payment."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    REFUNDED = "REFUNDED"
    DISPUTED = "DISPUTED"


class Outcome(StrEnum):
    """How the amount paid compares with the amount requested; NONE until something is credited."""

    NONE = ""
    EXACT = "EXACT"
    UNDERPAID = "UNDERPAID"
    OVERPAID = "OVERPAID"
    LATE = "LATE"
    REPEATED = "REPEATED"


# Reports may be late, repeated and out of order, so they only move a payment to a higher rank. A declined payment can
# still be paid.
_RANK = {State.PENDING: 0, State.PROCESSING: 1, State.FAILED: 2, State.EXPIRED: 3, State.SUCCEEDED: 4}


class PaymentNotFound(NotFound):
    """The organization has no such payment."""

    reason = ErrorReason.PAYMENT_NOT_FOUND

    def __init__(self, payment_id: UUID) -> None:
        super().__init__("there is no such payment", paymentId=payment_id)


class CurrencyNotBillable(InvalidArgument):
    """No campaign can be billed in the currency."""

    reason = ErrorReason.CURRENCY_UNSUPPORTED

    def __init__(self, currency_code: str, billable: Collection[str]) -> None:
        known = ", ".join(billable)
        super().__init__(
            f"no campaign can be paid for in {currency_code}; use {known}", currencyCode=currency_code, usable=known
        )


class CurrencyMismatch(InvalidArgument):
    """The request's currency differs from the object's."""

    reason = ErrorReason.CURRENCY_MISMATCH

    def __init__(self, expected: str) -> None:
        super().__init__(f"currencyCode must be {expected} here", currencyCode=expected)


class RefundTooLarge(FailedPrecondition):
    """The amount exceeds the rest of the payment, or the wallet's available balance."""

    reason = ErrorReason.REFUND_TOO_LARGE

    def __init__(self, refundable_micros: int, currency_code: str) -> None:
        super().__init__(
            f"{to_decimal(refundable_micros):,f} {currency_code} can be given back: what is left of the payment and "
            "not spent",
            refundableMicros=refundable_micros,
        )


class PaymentStateInvalid(FailedPrecondition):
    """The operation does not apply in the payment's state."""

    reason = ErrorReason.PAYMENT_STATE_INVALID

    def __init__(self, payment_id: UUID, state: State, verb: str) -> None:
        super().__init__(f"a payment that is {state} cannot be {verb}", paymentId=payment_id, state=state.value)


@dataclass(frozen=True, slots=True)
class Recall:
    """A statement line by which the sender's bank recalled all or part of a deposit; `key` identifies the line."""

    key: str
    amount_micros: int


@dataclass(frozen=True, slots=True)
class IncomingFunds:
    """Money that a provider has seen, in whole minor units of its currency; `key` identifies it at the provider.

    Funds that are not final may still disappear and are credited only once they are final. `asset_amount` is in the
    asset's smallest unit and `rate` is units of the currency per unit of the asset; both are None if the money is the
    currency itself. `detail` has further fields of the contract's Deposit, such as `chain` or `sender_name`.
    `recalls`: the parts that the sender's bank has recalled since.
    """

    key: str
    amount_micros: int
    currency_code: str
    is_final: bool = True
    asset: str = ""
    asset_amount: int | None = None
    rate: Decimal | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    recalls: Sequence[Recall] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The state of a payment at its provider, and the funds received for it.

    `state` is PENDING, PROCESSING, SUCCEEDED, FAILED or EXPIRED; SUCCEEDED means that nothing more will be received.
    `instructions` are the fields of the provider's instructions in the contract.
    """

    external_id: str
    state: State
    incoming: Sequence[IncomingFunds] = ()
    failure_message: str = ""
    instructions: Mapping[str, Any] = field(default_factory=dict)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment that a customer requested; `choice` is the payment method they chose, such as chain and token."""

    id: UUID
    organization_id: UUID
    provider: str
    state: State
    amount_micros: int
    currency_code: str
    idempotency_key: str | None
    external_id: str | None
    failure_message: str = ""
    created_at: datetime
    updated_at: datetime
    pending_reason: str = ""
    paid_micros: int = 0
    refunded_micros: int = 0
    disputed_micros: int = 0
    outcome: Outcome = Outcome.NONE
    # No more funds are expected.
    is_closed: bool = False
    expires_at: datetime | None = None
    choice: Mapping[str, Any] = field(default_factory=dict)
    instructions: Mapping[str, Any] = field(default_factory=dict)

    def is_same_request_as(self, other: Self) -> bool:
        """Whether both were created by the same request body."""
        own = (self.provider, self.amount_micros, self.currency_code, self.choice)
        return own == (other.provider, other.amount_micros, other.currency_code, other.choice)

    @property
    def is_open(self) -> bool:
        """Whether it can still be paid."""
        return not self.is_closed and self.state in (State.PENDING, State.PROCESSING, State.FAILED)

    @property
    def net_paid_micros(self) -> int:
        """The amount paid, less the refunded and the disputed amounts."""
        return max(0, self.paid_micros - self.refunded_micros - self.disputed_micros)

    def check_refundable(self, amount_micros: int, available_micros: int) -> None:
        """REFUND_TOO_LARGE unless the amount is left of the payment and in the wallet's available balance."""
        refundable_micros = self.refundable_micros(available_micros)
        if not 0 < amount_micros <= refundable_micros:
            raise RefundTooLarge(refundable_micros, self.currency_code)

    def refundable_micros(self, available_micros: int) -> int:
        """The amount that can be refunded while the wallet's available balance is `available_micros`."""
        return max(0, min(self.net_paid_micros, available_micros))

    @property
    def tolerance_micros(self) -> int:
        """The rounding difference that still counts as an exact payment in a coin, in whole minor units.

        It is the coin's smallest unit, rounded up to minor units of the currency, since neither converts to whole
        amounts of the other. 0 if the payment is in its own currency.
        """
        if "decimals" not in self.instructions:
            return 0
        minor = micros_per_minor(self.currency_code)
        unit = Decimal(self.instructions["rate"]) * MICROS / 10 ** int(self.instructions["decimals"]) / minor
        return int(unit.to_integral_value(ROUND_CEILING)) * minor

    @property
    def is_paid(self) -> bool:
        """Whether the full amount has been credited."""
        return self.paid_micros > 0 and self.paid_micros + self.tolerance_micros >= self.amount_micros

    def is_abandoned(self, at: datetime) -> bool:
        """Whether it is still open past its expiry."""
        return self.is_open and at >= (self.expires_at or self.created_at + ABANDONED_AFTER)

    def waiting(self, reason: str, at: datetime) -> Self:
        """With the reason why it is still pending."""
        return self if reason == self.pending_reason else replace(self, pending_reason=reason, updated_at=at)

    def rejected(self, message: str, at: datetime) -> Self:
        """FAILED: the provider refused to open it."""
        return replace(
            self, state=State.FAILED, failure_message=message, pending_reason="", is_closed=True, updated_at=at
        )

    def expired_unopened(self, at: datetime) -> Self:
        """EXPIRED: the provider never opened it, so it cannot have been paid."""
        return replace(self, state=State.EXPIRED, is_closed=True, updated_at=at)

    def apply(self, report: Report, at: datetime) -> Self:
        """With the report's state, unless a later one is known; the report's incoming funds are not considered."""
        known = replace(
            self,
            external_id=self.external_id or report.external_id,
            instructions=self.instructions or report.instructions,
            expires_at=self.expires_at or report.expires_at,
            pending_reason="",
        )
        if self.paid_micros:
            closed = known.is_closed or report.state in (State.SUCCEEDED, State.EXPIRED)
            return replace(known, is_closed=closed)._with_state(at, self)
        is_older = _RANK[report.state] < _RANK.get(self.state, 0)
        # SUCCEEDED is trusted only once funds have been credited.
        if is_older or self.is_closed or report.state is State.SUCCEEDED:
            return known._touched(at, self)
        closed = report.state is State.EXPIRED
        return replace(
            known, state=report.state, failure_message=report.failure_message, is_closed=closed
        )._touched(at, self)  # fmt: skip

    def credited(self, amount_micros: int, at: datetime, seen_at: datetime) -> Self:
        """With the amount credited; `seen_at` is when the provider first saw it, which decides whether it is late."""
        is_late = (
            self.state is State.EXPIRED
            or self.outcome is Outcome.LATE
            or (self.expires_at is not None and seen_at > self.expires_at)
        )
        paid_micros = self.paid_micros + amount_micros
        if is_late:
            outcome = Outcome.LATE
        elif self.is_paid:
            outcome = Outcome.REPEATED
        else:
            outcome = self._outcome(paid_micros)
        after = replace(
            self, paid_micros=paid_micros, outcome=outcome, failure_message="", pending_reason="",
            is_closed=self.is_closed or is_late,
        )  # fmt: skip
        return after._with_state(at, self)

    def reversed(self, amount_micros: int, at: datetime) -> Self:
        """With the amount reversed: it was not paid after all."""
        paid_micros = self.paid_micros - amount_micros
        after = replace(self, paid_micros=paid_micros, outcome=self._outcome(paid_micros))
        if paid_micros:
            return after._with_state(at, self)
        return replace(after, state=State.EXPIRED if self.is_closed else State.PENDING)._touched(at, self)

    def refunding(self, delta_micros: int, at: datetime) -> Self:
        """With the change of the refunded amount, negative if a refund failed."""
        return replace(self, refunded_micros=self.refunded_micros + delta_micros)._with_state(at, self)

    def disputing(self, delta_micros: int, at: datetime) -> Self:
        """With the change of the disputed amount, negative if a dispute was won."""
        return replace(self, disputed_micros=self.disputed_micros + delta_micros)._with_state(at, self)

    def _outcome(self, paid_micros: int) -> Outcome:
        if not paid_micros:
            return Outcome.NONE
        if abs(paid_micros - self.amount_micros) <= self.tolerance_micros:
            return Outcome.EXACT
        return Outcome.UNDERPAID if paid_micros < self.amount_micros else Outcome.OVERPAID

    def _with_state(self, at: datetime, before: Self) -> Self:
        """With the state that follows from its amounts."""
        if self.disputed_micros:
            state = State.DISPUTED
        elif self.refunded_micros and self.refunded_micros >= self.paid_micros:
            state = State.REFUNDED
        elif self.is_closed or self.is_paid:
            state = State.SUCCEEDED
        else:
            state = State.PROCESSING
        return replace(self, state=state)._touched(at, before)

    def _touched(self, at: datetime, before: Self) -> Self:
        return self if self == before else replace(self, updated_at=at)
