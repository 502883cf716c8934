"""A payout's states: RESERVED → SENDING → PROCESSING → PAID or FAILED, or from RESERVED to CANCELLED."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition, InvalidArgument, NotFound
from adlib.money import to_decimal
from payment_service.ledger.model import Account, Kind, Transfer, paid, payable, pending
from payment_service.providers.model import BankAccount, TransferState, TransferStatus


class State(StrEnum):
    """A payout's state."""

    RESERVED = "RESERVED"
    CANCELLED = "CANCELLED"
    SENDING = "SENDING"
    PROCESSING = "PROCESSING"
    PAID = "PAID"
    FAILED = "FAILED"


# Reports may arrive late, twice and in any order, so a payout only moves up. A returned payout stays FAILED.
_RANK = {State.RESERVED: 0, State.SENDING: 1, State.PROCESSING: 2, State.PAID: 3, State.FAILED: 4, State.CANCELLED: 4}
_STATES = {
    TransferState.AWAITING_FUNDS: State.SENDING,
    TransferState.PROCESSING: State.PROCESSING,
    TransferState.PAID: State.PAID,
    TransferState.FAILED: State.FAILED,
}


class PayoutNotFound(NotFound):
    """No payout was reserved with the id."""

    reason = ErrorReason.PAYOUT_NOT_FOUND

    def __init__(self, payout_id: UUID) -> None:
        super().__init__("there is no such payout", payoutId=payout_id)


class PayoutStateInvalid(FailedPrecondition):
    """The operation does not apply in the payout's state."""

    reason = ErrorReason.PAYOUT_STATE_INVALID

    def __init__(self, payout_id: UUID, state: State, verb: str) -> None:
        super().__init__(f"a payout that is {state} cannot be {verb}", payoutId=payout_id, state=state.value)


class PayoutReused(InvalidArgument):
    """The id was used before with another amount, publisher or bank account."""

    reason = ErrorReason.IDEMPOTENCY_KEY_REUSED

    def __init__(self, payout_id: UUID) -> None:
        super().__init__("this payoutId was used before with other details; use a new one", payoutId=payout_id)


@dataclass(frozen=True, slots=True)
class Payout:
    """One payout; `recipient_id`, `quote_id` and `transfer_id` are its provider's.

    PAID is not final: the recipient's bank may return the money weeks later, so the transfer is polled for 60 days.
    `returned_micros`: the returned part of a FAILED payout; None: all of it.
    """

    id: UUID
    organization_id: UUID
    publisher_id: UUID
    amount_micros: int
    currency_code: str
    state: State
    destination: BankAccount | None
    recipient_id: str | None
    quote_id: str | None
    transfer_id: str | None
    failure_reason: str
    attempts: int
    created_at: datetime
    updated_at: datetime
    returned_micros: int | None = None

    @property
    def total_returned_micros(self) -> int:
        """The amount returned to the publisher's earnings."""
        if self.state is not State.FAILED:
            return 0
        return self.amount_micros if self.returned_micros is None else self.returned_micros

    def is_same_request_as(self, other: Self) -> bool:
        """Whether both reserve the same amount for the same publisher."""
        own = (self.organization_id, self.publisher_id, self.amount_micros, self.currency_code)
        return own == (other.organization_id, other.publisher_id, other.amount_micros, other.currency_code)

    def cancelled(self, at: datetime) -> Self:
        """Cancelled; PAYOUT_STATE_INVALID once it is being sent."""
        if self.state is State.CANCELLED:
            return self
        if self.state is not State.RESERVED:
            raise PayoutStateInvalid(self.id, self.state, "cancelled")
        return replace(self, state=State.CANCELLED, updated_at=at)

    def sent_to(self, destination: BankAccount, at: datetime) -> Self:
        """To be sent to the account; unchanged on a repeat. PAYOUT_STATE_INVALID once it is cancelled."""
        if self.state is State.CANCELLED:
            raise PayoutStateInvalid(self.id, self.state, "sent")
        if self.state is State.RESERVED:
            return replace(self, state=State.SENDING, destination=destination, updated_at=at)
        if self.destination != destination:
            raise PayoutReused(self.id)
        return self

    def apply(self, status: TransferStatus, at: datetime) -> Self:
        """Applies the status of the payout's transfer, unless a later one is known already."""
        state = _STATES[status.state]
        if self.state is state is State.FAILED and self.transfer_id is not None:
            return self._returned(status.reason, at, status.returned_micros)
        if self.state not in (State.SENDING, State.PROCESSING, State.PAID) or _RANK[state] <= _RANK[self.state]:
            return self
        if state is not State.FAILED:
            return replace(self, state=state, failure_reason="", updated_at=at)
        return replace(self, state=state, returned_micros=0)._returned(status.reason, at, status.returned_micros)

    def _returned(self, reason: str, at: datetime, returned_micros: int | None) -> Self:
        """With the total returned so far, which never decreases."""
        if returned_micros is None or returned_micros >= self.amount_micros:
            whole = replace(self, returned_micros=None, failure_reason=reason, updated_at=at)
            return whole if self.total_returned_micros < self.amount_micros else self
        if self.failure_reason and returned_micros <= self.total_returned_micros:
            return self
        part = f"{to_decimal(returned_micros):,f} of {to_decimal(self.amount_micros):,f} {self.currency_code} came back"
        return replace(
            self, returned_micros=returned_micros, failure_reason=f"{reason}; {part}", updated_at=at
        )  # fmt: skip

    def reserve_transfer(self) -> Transfer:
        """Reserves the amount from the publisher's earnings."""
        return self._transfer("PAYOUT_RESERVE", "payable", "pending")

    def transfers_since(self, before: Self, provider: str) -> list[Transfer]:
        """The ledger transfers for the change from `before`.

        The part of a returned payout that a bank has not returned yet is booked to `provider`'s suspense account.
        """
        suspense = Account(Kind.SUSPENSE, self.currency_code, None, provider)
        returned = self._transfer("PAYOUT_RETURN", "paid", "payable")
        if before.state is self.state is State.FAILED:
            more_micros = self.total_returned_micros - before.total_returned_micros
            key = f"{returned.key}:{self.total_returned_micros}"
            more = replace(returned, debit=suspense, amount_micros=more_micros, key=key)
            return [more] if more_micros else []
        moved = self.transfer_from(before.state)
        if moved is None or self.state is not State.FAILED:
            return [moved] if moved else []
        missing_micros = self.amount_micros - self.total_returned_micros
        missing = replace(
            moved, kind="SUSPENSE", credit=suspense, amount_micros=missing_micros, key=f"suspense:payout:{self.id}"
        )
        return [one for one in (replace(moved, amount_micros=self.total_returned_micros), missing) if one.amount_micros]

    def transfer_from(self, before: State) -> Transfer | None:
        """The ledger transfer for the change of state; None if it moves no money."""
        match self.state:
            case State.CANCELLED:
                return self._transfer("PAYOUT_CANCEL", "pending", "payable")
            case State.PAID:
                return self._transfer("PAYOUT_PAID", "pending", "paid")
            case State.FAILED:
                return self._transfer("PAYOUT_RETURN", "paid" if before is State.PAID else "pending", "payable")
        return None

    def _transfer(self, kind: str, debit: str, credit: str) -> Transfer:
        account = {"payable": payable, "pending": pending, "paid": paid}
        owner = (self.organization_id, self.publisher_id, self.currency_code)
        key = f"{kind.lower()}:{self.id}"
        return Transfer(kind, account[debit](*owner), account[credit](*owner), self.amount_micros, self.id, key)


def account_from(fields: Mapping[str, str] | None) -> BankAccount | None:
    """A stored bank account."""
    return BankAccount(**fields) if fields else None
