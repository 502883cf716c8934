"""A refund's life, and how its money leaves the wallet and comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition
from adlib.money import to_decimal
from payment_service.ledger.model import Account, Transfer
from payment_service.ledger.wallet import Wallet


class State(StrEnum):
    """Where a refund is in its life."""

    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


# News come twice and in any order, so a refund only ever moves up: one that the customer's bank took may still come
# back, and one that came back stays so.
_RANK = {State.PENDING: 0, State.SUCCEEDED: 1, State.FAILED: 2}
_UNDER_WAY = "the payment provider has it, and has not finished it"


class RefundTooLarge(FailedPrecondition):
    """More than is left of the payment, or than the wallet has."""

    reason = ErrorReason.REFUND_TOO_LARGE

    def __init__(self, refundable_micros: int, currency_code: str) -> None:
        super().__init__(
            f"{to_decimal(refundable_micros):,f} {currency_code} can be given back: what is left of the payment and "
            "not spent",
            refundableMicros=refundable_micros,
        )


class RefundNotSeen(FailedPrecondition):
    """What was sent by hand is not there, or not as it should be; the message says what was looked for."""

    reason = ErrorReason.REFUND_NOT_SEEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """An amount of a payment that goes back; `asked_by` is the member of staff, None where it was made elsewhere."""

    id: UUID
    payment_id: UUID
    organization_id: UUID
    provider: str
    amount_micros: int
    currency_code: str
    state: State
    external_id: str | None
    reason: str
    sent_as: str
    asked_by: UUID | None
    pending_reason: str = ""
    failure_message: str = ""
    created_at: datetime
    updated_at: datetime

    @property
    def is_unsent(self) -> bool:
        """Whether its provider has still to be asked for it."""
        return self.state is State.PENDING and self.external_id is None

    @property
    def is_refused(self) -> bool:
        """Whether its provider did not take it."""
        return self.state is State.FAILED and self.external_id is None

    @property
    def going_micros(self) -> int:
        """What of the payment has gone back by it, or is going."""
        return 0 if self.state is State.FAILED else self.amount_micros

    @property
    def accounts(self) -> Sequence[Account]:
        """Every account that it may touch."""
        wallet = self._wallet
        return wallet.available, wallet.debt, wallet.clearing(self.provider)

    def waiting(self, reason: str, at: datetime) -> Self:
        """Not further because of its provider."""
        return self if reason == self.pending_reason else replace(self, pending_reason=reason, updated_at=at)

    def told(self, external_id: str | None, state: State, failure_message: str, at: datetime) -> Self:
        """As its provider says, unless more is known already."""
        known = replace(self, external_id=self.external_id or external_id)
        if self.is_refused and external_id and state is not State.FAILED:
            # It was made nevertheless.
            known = replace(known, state=State.SUCCEEDED, failure_message="")
        elif _RANK[state] > _RANK[self.state]:
            known = replace(known, state=state, pending_reason="", failure_message=failure_message)
        elif self.state is State.PENDING:
            known = replace(known, pending_reason=_UNDER_WAY)
        return self if known == self else replace(known, updated_at=at)

    def set_aside(self) -> Sequence[Transfer]:
        """Out of what can be spent, until it is known how the refund ends."""
        return [self._out.pending()]

    def taken(self, balances: Mapping[Account, int]) -> Sequence[Transfer]:
        """Gone already, past us: what is not in the wallet any more becomes a debt. `balances` of `accounts`."""
        return self._wallet.take(self._out, balances)

    def moved_from(self, before: State, balances: Mapping[Account, int]) -> Sequence[Transfer]:
        """What goes with the change from the state before; `balances` of `accounts`."""
        wallet, out = self._wallet, self._out
        match before, self.state:
            case State.PENDING, State.SUCCEEDED:
                return [out.completed()]
            case State.PENDING, State.FAILED:
                ended = out.voided()
                return [ended, *wallet.freed(out.amount_micros, balances, out.reference, ended.key)]
            case State.SUCCEEDED, State.FAILED:
                back = replace(out, debit=out.credit, credit=out.debit, key=f"{out.key}:back")
                return wallet.put(back, balances)
            case State.FAILED, State.SUCCEEDED:
                return wallet.take(replace(out, key=f"{out.key}:after-all"), balances)
        return []

    @property
    def _out(self) -> Transfer:
        wallet = self._wallet
        clearing = wallet.clearing(self.provider)
        return Transfer(
            "REFUND", wallet.available, clearing, self.amount_micros, self.payment_id, f"refund:{self.id}"
        )  # fmt: skip

    @property
    def _wallet(self) -> Wallet:
        return Wallet(self.organization_id, self.currency_code)
