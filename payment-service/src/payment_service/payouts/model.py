"""A payout's life: RESERVED → SENDING → PROCESSING → PAID or FAILED, or from RESERVED to CANCELLED."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition, InvalidArgument, NotFound
from adlib.money import to_decimal
from payment_service.ledger.model import Account, Kind, Transfer, paid, payable, pending


class State(StrEnum):
    """Where a payout is in its life."""

    RESERVED = "RESERVED"
    CANCELLED = "CANCELLED"
    SENDING = "SENDING"
    PROCESSING = "PROCESSING"
    PAID = "PAID"
    FAILED = "FAILED"


# News may come late, twice and in any order, so a payout only ever moves up. What a bank sent back stays FAILED.
_RANK = {State.RESERVED: 0, State.SENDING: 1, State.PROCESSING: 2, State.PAID: 3, State.FAILED: 4, State.CANCELLED: 4}


class PayoutNotFound(NotFound):
    """Nothing was reserved under that id."""

    reason = ErrorReason.PAYOUT_NOT_FOUND

    def __init__(self, payout_id: UUID) -> None:
        super().__init__("there is no such payout", payoutId=payout_id)


class PayoutStateInvalid(FailedPrecondition):
    """The verb does not apply in this state."""

    reason = ErrorReason.PAYOUT_STATE_INVALID

    def __init__(self, payout_id: UUID, state: State, verb: str) -> None:
        super().__init__(f"a payout that is {state} cannot be {verb}", payoutId=payout_id, state=state.value)


class PayoutReused(InvalidArgument):
    """The id was used before with another amount, publisher or bank account."""

    reason = ErrorReason.IDEMPOTENCY_KEY_REUSED

    def __init__(self, payout_id: UUID) -> None:
        super().__init__("this payoutId was used before with other details; use a new one", payoutId=payout_id)


@dataclass(frozen=True, slots=True)
class BankAccount:
    """Where a payout goes: an IBAN, or a routing and an account number of the United States."""

    holder: str
    iban: str = ""
    routing_number: str = ""
    account_number: str = ""


@dataclass(frozen=True, slots=True)
class Payout:
    """One payout; the ids are the bank's.

    PAID is not the end: the recipient's bank may send the money back weeks later, so the bank is asked for 60 days.
    `returned_micros` is what of a FAILED one has come back; None: all of it.
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
    def came_back_micros(self) -> int:
        """What of it the publisher has again."""
        if self.state is not State.FAILED:
            return 0
        return self.amount_micros if self.returned_micros is None else self.returned_micros

    def asks_the_same(self, other: "Payout") -> bool:
        """Whether both set the same amount aside for the same publisher."""
        mine = (self.organization_id, self.publisher_id, self.amount_micros, self.currency_code)
        return mine == (other.organization_id, other.publisher_id, other.amount_micros, other.currency_code)

    def cancelled(self, at: datetime) -> "Payout":
        """Not to be sent; PAYOUT_STATE_INVALID once it is being sent."""
        if self.state is State.CANCELLED:
            return self
        if self.state is not State.RESERVED:
            raise PayoutStateInvalid(self.id, self.state, "cancelled")
        return replace(self, state=State.CANCELLED, updated_at=at)

    def sent_to(self, destination: BankAccount, at: datetime) -> "Payout":
        """To be sent; a repeat stays as it is. PAYOUT_STATE_INVALID once it is cancelled."""
        if self.state is State.CANCELLED:
            raise PayoutStateInvalid(self.id, self.state, "sent")
        if self.state is State.RESERVED:
            return replace(self, state=State.SENDING, destination=destination, updated_at=at)
        if self.destination != destination:
            raise PayoutReused(self.id)
        return self

    def apply(self, state: State, reason: str, at: datetime, returned_micros: int | None = None) -> "Payout":
        """As the bank says, unless more is known already; `returned_micros` of a FAILED one have come back by now."""
        if self.state is state is State.FAILED and self.transfer_id is not None:
            return self._returned(reason, at, returned_micros)
        if self.state not in (State.SENDING, State.PROCESSING, State.PAID) or _RANK[state] <= _RANK[self.state]:
            return self
        if state is not State.FAILED:
            return replace(self, state=state, failure_reason="", updated_at=at)
        return replace(self, state=state, returned_micros=0)._returned(reason, at, returned_micros)

    def _returned(self, reason: str, at: datetime, returned_micros: int | None) -> "Payout":
        """With what has come back of it by now: never less than before."""
        if returned_micros is None or returned_micros >= self.amount_micros:
            whole = replace(self, returned_micros=None, failure_reason=reason, updated_at=at)
            return whole if self.came_back_micros < self.amount_micros else self
        if self.failure_reason and returned_micros <= self.came_back_micros:
            return self
        part = f"{to_decimal(returned_micros):,f} of {to_decimal(self.amount_micros):,f} {self.currency_code} came back"
        return replace(
            self, returned_micros=returned_micros, failure_reason=f"{reason}; {part}", updated_at=at
        )  # fmt: skip

    def reserve_transfer(self) -> Transfer:
        """From what the publisher has earned to what is set aside."""
        return self._transfer("PAYOUT_RESERVE", "payable", "pending")

    def transfers_since(self, before: "Payout", bank: str) -> list[Transfer]:
        """The money's moves that go with the change from `before`.

        What a bank kept of a payout that came back is in suspense, until it comes back, too.
        """
        suspense = Account(Kind.SUSPENSE, self.currency_code, None, bank)
        returned = self._transfer("PAYOUT_RETURN", "paid", "payable")
        if before.state is self.state is State.FAILED:
            more_micros = self.came_back_micros - before.came_back_micros
            key = f"{returned.key}:{self.came_back_micros}"
            more = replace(returned, debit=suspense, amount_micros=more_micros, key=key)
            return [more] if more_micros else []
        moved = self.transfer_from(before.state)
        if moved is None or self.state is not State.FAILED:
            return [moved] if moved else []
        kept_micros = self.amount_micros - self.came_back_micros
        kept = replace(
            moved, kind="SUSPENSE", credit=suspense, amount_micros=kept_micros, key=f"suspense:payout:{self.id}"
        )
        return [one for one in (replace(moved, amount_micros=self.came_back_micros), kept) if one.amount_micros]

    def transfer_from(self, before: State) -> Transfer | None:
        """The money's move that goes with this payout's change of state, where there is one."""
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
        whose = (self.organization_id, self.publisher_id, self.currency_code)
        key = f"{kind.lower()}:{self.id}"
        return Transfer(kind, account[debit](*whose), account[credit](*whose), self.amount_micros, self.id, key)


def account_from(fields: Mapping[str, str] | None) -> BankAccount | None:
    """A bank account as it is kept."""
    return BankAccount(**fields) if fields else None
