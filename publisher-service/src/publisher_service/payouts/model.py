"""Payouts and their state machine."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib import money
from adlib.errors import FailedPrecondition, InvalidField, NotFound, PermissionDenied

# The first retry waits until the call that stored the step had time to complete it; each later one waits twice as long.
_FIRST_RETRY_AFTER = timedelta(seconds=10)
_MAX_RETRY_AFTER = timedelta(minutes=15)


class PayoutNotFound(NotFound):
    """The organization has no such payout."""

    reason = ErrorReason.PAYOUT_NOT_FOUND

    def __init__(self, payout_id: UUID) -> None:
        super().__init__("there is no such payout in this organization", payoutId=payout_id)


class PayoutStateInvalid(FailedPrecondition):
    """The operation is not allowed in the payout's state."""

    reason = ErrorReason.PAYOUT_STATE_INVALID

    def __init__(self, state: "State") -> None:
        super().__init__(
            f"the payout is {public_state(state)}; only one that is PENDING_APPROVAL can be decided",
            state=public_state(state),
        )


class PayoutSelfApproval(PermissionDenied):
    """A user cannot approve their own payout request."""

    reason = ErrorReason.PAYOUT_SELF_APPROVAL

    def __init__(self) -> None:
        super().__init__("you requested this payout; another member of staff has to approve it")


class State(StrEnum):
    """A payout's state. In RESERVING, APPROVED and REJECTING the call to payment-service is pending.

    Clients see neither RESERVING nor REJECTING.
    """

    RESERVING = "RESERVING"
    PENDING_APPROVAL = "PENDING_APPROVAL"
    APPROVED = "APPROVED"
    PROCESSING = "PROCESSING"
    PAID = "PAID"
    REJECTING = "REJECTING"
    REJECTED = "REJECTED"
    FAILED = "FAILED"


class Outcome(StrEnum):
    """The state of a payout's bank transfer."""

    PROCESSING = "PROCESSING"
    PAID = "PAID"
    FAILED = "FAILED"


# The state after the pending call to payment-service.
NEXT_STATE: Mapping[State, State] = {
    State.RESERVING: State.PENDING_APPROVAL,
    State.APPROVED: State.PROCESSING,
    State.REJECTING: State.REJECTED,
}
_SENT = frozenset({State.APPROVED, State.PROCESSING, State.PAID})
# The states in which an outcome applies. Outcomes arrive in any order: a late PROCESSING does not undo PAID, but a bank
# can return a transfer that it has paid.
_APPLIES_IN: Mapping[Outcome, frozenset[State]] = {
    Outcome.PROCESSING: frozenset({State.APPROVED}),
    Outcome.PAID: frozenset({State.APPROVED, State.PROCESSING}),
    Outcome.FAILED: _SENT,
}


def public_state(state: State) -> State:
    """The state that clients see."""
    return State.REJECTED if state is State.REJECTING else state


@dataclass(frozen=True, slots=True)
class BankAccount:
    """A payout's destination: an IBAN, or a routing and an account number in the United States."""

    account_holder_name: str
    iban: str | None = None
    routing_number: str | None = None
    account_number: str | None = None


@dataclass(frozen=True, slots=True)
class NewPayout:
    """The fields of a payout request."""

    publisher_id: UUID
    amount_micros: int
    currency_code: str
    destination: BankAccount

    def check(self) -> None:
        """Raises CURRENCY_UNSUPPORTED, or INVALID_FIELD for a wrong amount or check digit."""
        money.to_minor(self.amount_micros, self.currency_code)
        if self.destination.iban is not None and not is_iban(self.destination.iban):
            raise InvalidField("destination.iban", "is not a valid IBAN: its check digits are wrong; check for a typo")
        if self.destination.routing_number and not is_routing_number(self.destination.routing_number):
            field = "destination.unitedStates.routingNumber"
            raise InvalidField(field, "is not a valid ABA routing number: its check digit is wrong; check for a typo")


def is_iban(text: str) -> bool:
    """Whether the check digits are right (ISO 13616: modulo 97 is 1)."""
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def is_routing_number(text: str) -> bool:
    """Whether the check digit is right (ABA: the digits weighted 3, 7, 1 in turn add up to a multiple of 10)."""
    return sum(int(digit) * weight for digit, weight in zip(text, (3, 7, 1) * 3, strict=True)) % 10 == 0


@dataclass(frozen=True, slots=True)
class Payout:
    """A payout; `retry_at` and `failed_tries` are about the pending call to payment-service."""

    id: UUID
    organization_id: UUID
    publisher_id: UUID
    state: State
    amount_micros: int
    currency_code: str
    destination: BankAccount
    requested_by: UUID
    created_at: datetime
    updated_at: datetime
    retry_at: datetime
    failed_tries: int = 0
    decided_by: UUID | None = None
    reason: str = ""

    @classmethod
    def requested(cls, id: UUID, organization_id: UUID, by: UUID, new: NewPayout, at: datetime) -> "Payout":
        """A new payout, whose amount is not reserved yet."""
        return cls(
            id=id,
            organization_id=organization_id,
            publisher_id=new.publisher_id,
            state=State.RESERVING,
            amount_micros=new.amount_micros,
            currency_code=new.currency_code,
            destination=new.destination,
            requested_by=by,
            created_at=at,
            updated_at=at,
            retry_at=at + _FIRST_RETRY_AFTER,
        )

    def has_same_request(self, new: NewPayout) -> bool:
        """Whether it was requested with the same fields."""
        own = (self.publisher_id, self.amount_micros, self.currency_code, self.destination)
        return own == (new.publisher_id, new.amount_micros, new.currency_code, new.destination)

    def approved(self, by: UUID, at: datetime) -> "Payout":
        """The payout as APPROVED; the same object where this user has approved it already.

        PAYOUT_SELF_APPROVAL, PAYOUT_STATE_INVALID.
        """
        if self.requested_by == by:
            raise PayoutSelfApproval
        if self.decided_by == by and self.state in _SENT:
            return self
        return self._decided(State.APPROVED, by, "", at)

    def rejected(self, by: UUID, reason: str, at: datetime) -> "Payout":
        """The payout as REJECTING; the same object where this user has rejected it for this reason already.

        PAYOUT_STATE_INVALID.
        """
        if public_state(self.state) is State.REJECTED and (self.decided_by, self.reason) == (by, reason):
            return self
        return self._decided(State.REJECTING, by, reason, at)

    def advanced(self, at: datetime) -> "Payout":
        """The payout after the pending call to payment-service succeeded."""
        return replace(self, state=NEXT_STATE[self.state], updated_at=at, failed_tries=0)

    def delayed(self, at: datetime) -> "Payout":
        """The payout after the pending call failed; the next retry waits twice as long, 15 minutes at most."""
        wait = min(_FIRST_RETRY_AFTER * 2 ** min(self.failed_tries, 10), _MAX_RETRY_AFTER)
        return replace(self, retry_at=at + wait, failed_tries=self.failed_tries + 1)

    def settled(self, outcome: Outcome, reason: str, at: datetime) -> "Payout":
        """The payout after an outcome of its transfer; the same object where the outcome does not apply."""
        if self.state not in _APPLIES_IN[outcome]:
            return self
        return replace(self, state=State(outcome), reason=reason, updated_at=at)

    def _decided(self, state: State, by: UUID, reason: str, at: datetime) -> "Payout":
        if self.state is not State.PENDING_APPROVAL:
            raise PayoutStateInvalid(self.state)
        return replace(
            self,
            state=state,
            decided_by=by,
            reason=reason,
            updated_at=at,
            retry_at=at + _FIRST_RETRY_AFTER,
            failed_tries=0,
        )
