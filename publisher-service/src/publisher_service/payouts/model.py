"""Requests for money, and the rules of what may become of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib import money
from adlib.errors import FailedPrecondition, InvalidField, NotFound, PermissionDenied

# Time for the call that began something to end it; after that somebody else carries on.
_FIRST_RETRY = timedelta(seconds=10)
_LAST_RETRY = timedelta(minutes=15)


class PayoutNotFound(NotFound):
    """No such payout, or another organization's."""

    reason = ErrorReason.PAYOUT_NOT_FOUND

    def __init__(self, payout_id: UUID) -> None:
        super().__init__("there is no such payout in this organization", payoutId=payout_id)


class PayoutStateInvalid(FailedPrecondition):
    """The verb does not apply in the payout's state."""

    reason = ErrorReason.PAYOUT_STATE_INVALID

    def __init__(self, state: "State") -> None:
        super().__init__(
            f"the payout is {shown(state)}; only one that is PENDING_APPROVAL can be decided", state=shown(state)
        )


class PayoutSelfApproval(PermissionDenied):
    """Nobody approves the payout they asked for."""

    reason = ErrorReason.PAYOUT_SELF_APPROVAL

    def __init__(self) -> None:
        super().__init__("you asked for this payout; somebody else has to approve it")


class State(StrEnum):
    """Where a payout is in its life. In RESERVING and REJECTING, which nobody is shown, and in APPROVED
    payment-service has yet to do its part.
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
    """How a payout's bank transfer stands."""

    PROCESSING = "PROCESSING"
    PAID = "PAID"
    FAILED = "FAILED"


# What a payout becomes once payment-service has done its part.
AFTERWARDS: Mapping[State, State] = {
    State.RESERVING: State.PENDING_APPROVAL,
    State.APPROVED: State.PROCESSING,
    State.REJECTING: State.REJECTED,
}
_SENT = frozenset({State.APPROVED, State.PROCESSING, State.PAID})
# News of a transfer come in any order: PAID is not undone by a late PROCESSING, but a bank can return what it paid.
_NEWS_TO: Mapping[Outcome, frozenset[State]] = {
    Outcome.PROCESSING: frozenset({State.APPROVED}),
    Outcome.PAID: frozenset({State.APPROVED, State.PROCESSING}),
    Outcome.FAILED: _SENT,
}


def shown(state: State) -> State:
    """The state as people see it."""
    return State.REJECTED if state is State.REJECTING else state


@dataclass(frozen=True, slots=True)
class BankAccount:
    """Where a payout goes: an IBAN, or a routing and an account number in the United States."""

    account_holder_name: str
    iban: str | None = None
    routing_number: str | None = None
    account_number: str | None = None


@dataclass(frozen=True, slots=True)
class NewPayout:
    """What is asked for."""

    publisher_id: UUID
    amount_micros: int
    currency_code: str
    destination: BankAccount

    def check(self) -> None:
        """CURRENCY_UNSUPPORTED, or INVALID_FIELD where the amount or the account cannot be right."""
        money.to_minor(self.amount_micros, self.currency_code)
        if self.destination.iban is not None and not is_iban(self.destination.iban):
            raise InvalidField("destination.iban", "is not a valid IBAN; its check digits do not fit, look for a typo")
        if self.destination.routing_number and not is_routing_number(self.destination.routing_number):
            field = "destination.unitedStates.routingNumber"
            raise InvalidField(field, "is no ABA routing number; its check digit does not fit, look for a typo")


def is_iban(text: str) -> bool:
    """Whether the check digits are right (ISO 13616: modulo 97 is 1)."""
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def is_routing_number(text: str) -> bool:
    """Whether the check digit is right (ABA: the digits weighed 3, 7, 1 in turn sum up to a multiple of 10)."""
    return sum(int(digit) * weight for digit, weight in zip(text, (3, 7, 1) * 3, strict=True)) % 10 == 0


@dataclass(frozen=True, slots=True)
class Payout:
    """A request for money and what became of it; `retry_at` and `failed_tries` are of telling payment-service."""

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
        """A payout whose money is not set aside yet."""
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
            retry_at=at + _FIRST_RETRY,
        )

    def asks_the_same(self, new: NewPayout) -> bool:
        """Whether it was requested with the same body."""
        mine = (self.publisher_id, self.amount_micros, self.currency_code, self.destination)
        return mine == (new.publisher_id, new.amount_micros, new.currency_code, new.destination)

    def approve(self, by: UUID, at: datetime) -> "Payout":
        """The payout, approved; itself where the same person did that before.

        PAYOUT_SELF_APPROVAL, PAYOUT_STATE_INVALID.
        """
        if self.requested_by == by:
            raise PayoutSelfApproval
        if self.decided_by == by and self.state in _SENT:
            return self
        return self._decided(State.APPROVED, by, "", at)

    def reject(self, by: UUID, reason: str, at: datetime) -> "Payout":
        """The payout, rejected; itself where the same person did that before for the same reason.

        PAYOUT_STATE_INVALID.
        """
        if shown(self.state) is State.REJECTED and (self.decided_by, self.reason) == (by, reason):
            return self
        return self._decided(State.REJECTING, by, reason, at)

    def carried_on(self, at: datetime) -> "Payout":
        """The payout after payment-service has done its part."""
        return replace(self, state=AFTERWARDS[self.state], updated_at=at, failed_tries=0)

    def delayed(self, at: datetime) -> "Payout":
        """The payout after payment-service could not be told once more; each time it waits longer."""
        wait = min(_FIRST_RETRY * 2 ** min(self.failed_tries, 10), _LAST_RETRY)
        return replace(self, retry_at=at + wait, failed_tries=self.failed_tries + 1)

    def settled(self, outcome: Outcome, reason: str, at: datetime) -> "Payout":
        """The payout after news of its transfer; itself where they are old or do not fit."""
        if self.state not in _NEWS_TO[outcome]:
            return self
        return replace(self, state=State(outcome), reason=reason, updated_at=at)

    def _decided(self, state: State, by: UUID, reason: str, at: datetime) -> "Payout":
        if self.state is not State.PENDING_APPROVAL:
            raise PayoutStateInvalid(self.state)
        return replace(
            self, state=state, decided_by=by, reason=reason, updated_at=at, retry_at=at + _FIRST_RETRY, failed_tries=0
        )
