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
from payment_service.ledger.model import Account, Kind, Transfer
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What else a provider says of a refund, beside its state.

    `amount_micros`: what was sent. `returned_micros`: what of a FAILED one has come back; None: all of it.
    `is_current`: the provider was asked just now, so this is true whatever came before; an event may be older than
    what is known.
    """

    amount_micros: int | None = None
    returned_micros: int | None = None
    pending_reason: str = ""
    is_current: bool = False


_NO_DETAILS = Details()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """An amount of a payment that goes back; `asked_by` is the member of staff, None where it was made elsewhere.

    It is final once nothing outside can reverse it, and followed until `followed_until` at the latest: a FAILED one may
    still be on its chain, a SUCCEEDED one may come back. None: it is final. `returned_micros` is what of a FAILED one
    has come back, None all of it; `reversals`, how often it came back.
    """

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
    returned_micros: int | None = None
    reversals: int = 0
    followed_until: datetime | None = None
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
    def came_back_micros(self) -> int:
        """What of it is in the wallet again."""
        if self.state is not State.FAILED:
            return 0
        return self.amount_micros if self.returned_micros is None else self.returned_micros

    @property
    def going_micros(self) -> int:
        """What of the payment has gone back by it and not come back, or is going."""
        return self.amount_micros - self.came_back_micros

    @property
    def accounts(self) -> Sequence[Account]:
        """Every account of the organization's that it may touch."""
        wallet = self._wallet
        return wallet.available, wallet.debt, wallet.clearing(self.provider)

    @property
    def suspense(self) -> Account:
        """The platform's: what left for the customer and has neither arrived nor come back."""
        return Account(Kind.SUSPENSE, self.currency_code, None, self.provider)

    def touched_since(self, before: Self) -> Sequence[Account]:
        """The accounts that the change from `before` touches."""
        is_partial = self.state is State.FAILED and self.came_back_micros < self.amount_micros
        return (*self.accounts, self.suspense) if is_partial or before.returned_micros is not None else self.accounts

    def waiting(self, reason: str, at: datetime) -> Self:
        """Not further because of its provider."""
        return self if reason == self.pending_reason else replace(self, pending_reason=reason, updated_at=at)

    def apply(
        self,
        external_id: str | None,
        state: State,
        failure_message: str,
        at: datetime,
        details: Details = _NO_DETAILS,
    ) -> Self:
        """As its provider says, unless more is known already."""
        known = replace(self, external_id=self.external_id or external_id)
        if self.is_refused and external_id and state is not State.FAILED:
            # It was made nevertheless.
            known = replace(known, state=State.SUCCEEDED, failure_message="")
        elif self._is_on_its_chain_again(state, details):
            known = replace(
                known, state=state, failure_message="", returned_micros=None, pending_reason=details.pending_reason
            )
        elif _RANK[state] > _RANK[self.state]:
            known = known._moved_up(state, failure_message, details)
        elif state is State.FAILED:
            known = known._returned(failure_message, details)
        elif self.state is State.PENDING:
            known = replace(known, pending_reason=_UNDER_WAY)
        elif details.is_current and self.state is State.SUCCEEDED:
            known = replace(known, pending_reason=details.pending_reason)
        return self if known == self else replace(known, updated_at=at)

    def _is_on_its_chain_again(self, state: State, details: Details) -> bool:
        """Only a chain changes its mind twice, and only what was asked just now says so."""
        is_whole = self.returned_micros is None
        return self.state is State.FAILED and is_whole and state is State.SUCCEEDED and details.is_current

    def _moved_up(self, state: State, failure_message: str, details: Details) -> Self:
        if state is State.FAILED and self.state is State.SUCCEEDED:
            after = replace(self, state=state, reversals=self.reversals + 1, returned_micros=0)
            return replace(after._returned(failure_message, details), pending_reason="")
        sent_micros = details.amount_micros if state is State.SUCCEEDED else None
        return replace(
            self, state=state, pending_reason=details.pending_reason, failure_message=failure_message,
            amount_micros=sent_micros or self.amount_micros,
        )  # fmt: skip

    def _returned(self, failure_message: str, details: Details) -> Self:
        """With what has come back of it by now: never less than before."""
        returned = details.returned_micros
        if self.returned_micros is None or (returned is not None and returned <= self.returned_micros):
            return self if self.failure_message else replace(self, failure_message=failure_message)
        if returned is None or returned >= self.amount_micros:
            return replace(self, returned_micros=None, failure_message=failure_message)
        part = f"{to_decimal(returned):,f} of {to_decimal(self.amount_micros):,f} {self.currency_code} came back"
        return replace(self, returned_micros=returned, failure_message=f"{failure_message}; {part}")

    def set_aside(self) -> Sequence[Transfer]:
        """Out of what can be spent, until it is known how the refund ends."""
        return [self._out.pending()]

    def taken(self, balances: Mapping[Account, int]) -> Sequence[Transfer]:
        """Gone already, past us: what is not in the wallet any more becomes a debt. `balances` of `accounts`."""
        return self._wallet.take(self._out, balances)

    def moves_since(self, before: Self, balances: Mapping[Account, int]) -> Sequence[Transfer]:
        """What goes with the change from `before`; `balances` of `touched_since`."""
        if self.state is before.state is State.FAILED:
            more = replace(
                self._out, debit=self.suspense, credit=self._wallet.available,
                amount_micros=self.came_back_micros - before.came_back_micros,
                key=f"{self._out.key}:returned:{self.came_back_micros}",
            )  # fmt: skip
            return self._wallet.put(more, balances) if more.amount_micros else []
        return self.moved_from(before.state, balances, before.amount_micros)

    def moved_from(
        self, before: State, balances: Mapping[Account, int], set_aside_micros: int | None = None
    ) -> Sequence[Transfer]:
        """What goes with the change from the state before; `balances` of `accounts`.

        `set_aside_micros`: what was set aside for it, where that is not what it moves.
        """
        wallet, out = self._wallet, self._out
        aside = replace(out, amount_micros=set_aside_micros or out.amount_micros)
        match before, self.state:
            case State.PENDING, State.SUCCEEDED:
                return self._sent(aside, balances)
            case State.PENDING, State.FAILED:
                ended = aside.voided()
                return [ended, *wallet.freed(aside.amount_micros, balances, out.reference, ended.key)]
            case State.SUCCEEDED, State.FAILED:
                return self._back(balances)
            case State.FAILED, State.SUCCEEDED:
                again = f":{self.reversals}" if self.reversals else ""
                return wallet.take(replace(out, key=f"{out.key}:after-all{again}"), balances)
        return []

    def _sent(self, aside: Transfer, balances: Mapping[Account, int]) -> Sequence[Transfer]:
        """What was sent of what was set aside; the rest is free, and what was sent beyond it is taken."""
        wallet, out = self._wallet, self._out
        ended = aside.completed(min(aside.amount_micros, out.amount_micros))
        freed_micros = aside.amount_micros - out.amount_micros
        if freed_micros >= 0:
            return [ended, *wallet.freed(freed_micros, balances, out.reference, ended.key)]
        more = replace(out, amount_micros=-freed_micros, key=f"{out.key}:more")
        return [ended, *wallet.take(more, balances)]

    def _back(self, balances: Mapping[Account, int]) -> Sequence[Transfer]:
        """What came back is in the wallet, and what did not is in suspense."""
        out, again = self._out, f":{self.reversals}" if self.reversals > 1 else ""
        back = replace(
            out, debit=out.credit, credit=out.debit, amount_micros=self.came_back_micros, key=f"{out.key}:back{again}"
        )
        missing = replace(
            out, kind="SUSPENSE", debit=out.credit, credit=self.suspense, amount_micros=self.going_micros,
            key=f"{out.key}:missing{again}",
        )  # fmt: skip
        returned = self._wallet.put(back, balances) if back.amount_micros else []
        return [*returned, missing] if missing.amount_micros else returned

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
