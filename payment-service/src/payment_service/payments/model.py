"""A deposit's life, and what a provider says of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition, InvalidArgument, NotFound
from adlib.money import MICROS, micros_per_minor

# A payment whose provider says no other time is closed after this one, so that the job need not ask for it for ever.
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


class Outcome(StrEnum):
    """How what was paid compares with what was asked for; NONE while nothing is credited."""

    NONE = ""
    EXACT = "EXACT"
    UNDERPAID = "UNDERPAID"
    OVERPAID = "OVERPAID"
    LATE = "LATE"
    REPEATED = "REPEATED"


# News may come late, twice and in any order, so what a provider says only ever moves a payment up. A declined one can
# still be paid.
_RANK = {State.PENDING: 0, State.PROCESSING: 1, State.FAILED: 2, State.EXPIRED: 3, State.SUCCEEDED: 4}


class PaymentNotFound(NotFound):
    """No such payment in the organization."""

    reason = ErrorReason.PAYMENT_NOT_FOUND

    def __init__(self, payment_id: UUID) -> None:
        super().__init__("there is no such payment", paymentId=payment_id)


class CurrencyNotBillable(InvalidArgument):
    """No campaign can be paid for in it."""

    reason = ErrorReason.CURRENCY_UNSUPPORTED

    def __init__(self, currency_code: str, billable: Collection[str]) -> None:
        known = ", ".join(billable)
        super().__init__(
            f"no campaign can be paid for in {currency_code}; use {known}", currencyCode=currency_code, usable=known
        )


class CurrencyMismatch(InvalidArgument):
    """It is about something in another currency."""

    reason = ErrorReason.CURRENCY_MISMATCH

    def __init__(self, expected: str) -> None:
        super().__init__(f"currencyCode must be {expected} here", currencyCode=expected)


class PaymentStateInvalid(FailedPrecondition):
    """The verb does not apply in the payment's state."""

    reason = ErrorReason.PAYMENT_STATE_INVALID

    def __init__(self, payment_id: UUID, state: State, verb: str) -> None:
        super().__init__(f"a payment that is {state} cannot be {verb}", paymentId=payment_id, state=state.value)


@dataclass(frozen=True, slots=True)
class Recall:
    """A line by which a sender's bank took back what had arrived, or a part of it; `key` is the line's own for ever."""

    key: str
    amount_micros: int


@dataclass(frozen=True, slots=True)
class IncomingFunds:
    """Money that a provider has seen, under a key that is its own for ever, in whole minor units of its currency.

    Not `is_final`: it may vanish again, and is credited only once it is said to be final. `asset_amount` is in the
    asset's smallest unit, `rate` the units of the currency for one unit of the asset; both stay empty where the money
    is the currency itself. `detail` is what else the customer is shown: fields of the contract's Deposit, by their
    names, such as `chain` or `sender_name`. `recalls` is what was taken back of it since.
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
    """How a payment stands at its provider, and what has arrived for it as far as the report tells.

    `state` is one of PENDING, PROCESSING, SUCCEEDED, FAILED, EXPIRED; SUCCEEDED means that nothing more will come.
    `instructions` is how to pay: the fields of the contract's instructions of this provider, by their names.
    """

    external_id: str
    state: State
    incoming: Sequence[IncomingFunds] = ()
    failure_message: str = ""
    instructions: Mapping[str, Any] = field(default_factory=dict)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """One deposit that a customer asked for, and what came of it; `choice` is what they chose to pay with."""

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
    # Nothing more is waited for.
    is_closed: bool = False
    expires_at: datetime | None = None
    choice: Mapping[str, Any] = field(default_factory=dict)
    instructions: Mapping[str, Any] = field(default_factory=dict)

    def asks_the_same(self, other: Self) -> bool:
        """Whether both were asked for with the same body."""
        mine = (self.provider, self.amount_micros, self.currency_code, self.choice)
        return mine == (other.provider, other.amount_micros, other.currency_code, other.choice)

    @property
    def is_open(self) -> bool:
        """Whether it is still to be paid."""
        return not self.is_closed and self.state in (State.PENDING, State.PROCESSING, State.FAILED)

    @property
    def kept_micros(self) -> int:
        """What was paid and has not gone back, nor may go back by a dispute."""
        return max(0, self.paid_micros - self.refunded_micros - self.disputed_micros)

    @property
    def tolerance_micros(self) -> int:
        """What exact may be off by where it is paid in a coin: the coin's smallest unit or the currency's minor one.

        Amounts of neither convert to whole amounts of the other. In whole minor units; 0 where it is paid in its own
        currency.
        """
        if "decimals" not in self.instructions:
            return 0
        minor = micros_per_minor(self.currency_code)
        unit = Decimal(self.instructions["rate"]) * MICROS / 10 ** int(self.instructions["decimals"]) / minor
        return int(unit.to_integral_value(ROUND_CEILING)) * minor

    @property
    def is_paid(self) -> bool:
        """Whether all that was asked for has been credited."""
        return self.paid_micros > 0 and self.paid_micros + self.tolerance_micros >= self.amount_micros

    def is_abandoned(self, at: datetime) -> bool:
        """Whether nobody is expected to pay it any more."""
        return self.is_open and at >= (self.expires_at or self.created_at + ABANDONED_AFTER)

    def waiting(self, reason: str, at: datetime) -> Self:
        """Not further because of its provider, which does not answer."""
        return self if reason == self.pending_reason else replace(self, pending_reason=reason, updated_at=at)

    def rejected(self, message: str, at: datetime) -> Self:
        """The provider refused to open it."""
        return replace(
            self, state=State.FAILED, failure_message=message, pending_reason="", is_closed=True, updated_at=at
        )

    def unopened(self, at: datetime) -> Self:
        """Its provider never answered, so that nobody could pay it."""
        return replace(self, state=State.EXPIRED, is_closed=True, updated_at=at)

    def apply(self, report: Report, at: datetime) -> Self:
        """As the report says, unless more is known already; what has arrived is not looked at."""
        known = replace(
            self,
            external_id=self.external_id or report.external_id,
            instructions=self.instructions or report.instructions,
            expires_at=self.expires_at or report.expires_at,
            pending_reason="",
        )
        if self.paid_micros:
            closed = known.is_closed or report.state in (State.SUCCEEDED, State.EXPIRED)
            return replace(known, is_closed=closed)._settled(at, self)
        is_older = _RANK[report.state] < _RANK.get(self.state, 0)
        # Nothing has arrived: that it succeeded is believed when the money is there.
        if is_older or self.is_closed or report.state is State.SUCCEEDED:
            return known._stamped(at, self)
        closed = report.state is State.EXPIRED
        return replace(
            known, state=report.state, failure_message=report.failure_message, is_closed=closed
        )._stamped(at, self)  # fmt: skip

    def credited(self, amount_micros: int, at: datetime, seen_at: datetime) -> Self:
        """With so much more in the wallet; late is what was not even seen in time."""
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
            outcome = self._compared(paid_micros)
        after = replace(
            self, paid_micros=paid_micros, outcome=outcome, failure_message="", pending_reason="",
            is_closed=self.is_closed or is_late,
        )  # fmt: skip
        return after._settled(at, self)

    def reversed(self, amount_micros: int, at: datetime) -> Self:
        """With so much less: it was never paid after all."""
        paid_micros = self.paid_micros - amount_micros
        after = replace(self, paid_micros=paid_micros, outcome=self._compared(paid_micros))
        if paid_micros:
            return after._settled(at, self)
        return replace(after, state=State.EXPIRED if self.is_closed else State.PENDING)._stamped(at, self)

    def refunding(self, delta_micros: int, at: datetime) -> Self:
        """With so much more going back, or less where a refund failed."""
        return replace(self, refunded_micros=self.refunded_micros + delta_micros)._settled(at, self)

    def disputing(self, delta_micros: int, at: datetime) -> Self:
        """With so much more in dispute, or less where a dispute was won."""
        return replace(self, disputed_micros=self.disputed_micros + delta_micros)._settled(at, self)

    def _compared(self, paid_micros: int) -> Outcome:
        if not paid_micros:
            return Outcome.NONE
        if abs(paid_micros - self.amount_micros) <= self.tolerance_micros:
            return Outcome.EXACT
        return Outcome.UNDERPAID if paid_micros < self.amount_micros else Outcome.OVERPAID

    def _settled(self, at: datetime, before: Self) -> Self:
        """In the state that its figures say."""
        if self.disputed_micros:
            state = State.DISPUTED
        elif self.refunded_micros and self.refunded_micros >= self.paid_micros:
            state = State.REFUNDED
        elif self.is_closed or self.is_paid:
            state = State.SUCCEEDED
        else:
            state = State.PROCESSING
        return replace(self, state=state)._stamped(at, before)

    def _stamped(self, at: datetime, before: Self) -> Self:
        return self if self == before else replace(self, updated_at=at)
