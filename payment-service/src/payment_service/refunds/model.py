"""A refund's life cycle, and the transfers that move its money out of the wallet and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from adlib.money import to_decimal
from payment_service.ledger.model import Account, Kind, Transfer, Wallet


class State(StrEnum):
    """The state of a refund."""

    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


# Reports are repeated and out of order, so a refund only moves to a higher rank: one that the customer's bank accepted
# may still be returned, and a returned one stays returned.
_RANK = {State.PENDING: 0, State.SUCCEEDED: 1, State.FAILED: 2}
_IN_PROGRESS = "the payment provider has it, and has not finished it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """A provider's report of a refund, apart from the state.

    `amount_micros`: the amount sent. `returned_micros`: the returned part of a FAILED refund; None: all of it.
    `is_current`: the provider was polled just now, so the report overrides earlier ones; an event may be outdated.
    """

    amount_micros: int | None = None
    returned_micros: int | None = None
    pending_reason: str = ""
    is_current: bool = False


_NO_DETAILS = Details()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """A refund of a payment, in full or in part; `asked_by` is the member of staff, None if made at the provider.

    Its provider is polled until `followed_until`, since a FAILED refund may still be on its chain and a SUCCEEDED one
    may be returned; None once it is final. `returned_micros`: the returned part of a FAILED refund; None: all of it.
    `reversals`: the number of times it was returned.
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
        """Whether it has not been sent to its provider."""
        return self.state is State.PENDING and self.external_id is None

    @property
    def is_rejected(self) -> bool:
        """Whether its provider rejected it."""
        return self.state is State.FAILED and self.external_id is None

    @property
    def total_returned_micros(self) -> int:
        """The amount returned to the wallet."""
        if self.state is not State.FAILED:
            return 0
        return self.amount_micros if self.returned_micros is None else self.returned_micros

    @property
    def net_micros(self) -> int:
        """The amount refunded or being refunded, less the returned amount."""
        return self.amount_micros - self.total_returned_micros

    @property
    def accounts(self) -> Sequence[Account]:
        """Every account of the organization that it may affect."""
        wallet = self._wallet
        return wallet.available, wallet.debt, wallet.clearing(self.provider)

    @property
    def suspense(self) -> Account:
        """The platform's account for money that neither reached the customer nor was returned."""
        return Account(Kind.SUSPENSE, self.currency_code, None, self.provider)

    def accounts_changed_since(self, before: Self) -> Sequence[Account]:
        """The accounts that the change from `before` affects."""
        is_partial = self.state is State.FAILED and self.total_returned_micros < self.amount_micros
        return (*self.accounts, self.suspense) if is_partial or before.returned_micros is not None else self.accounts

    def waiting(self, reason: str, at: datetime) -> Self:
        """With the reason why it is still pending."""
        return self if reason == self.pending_reason else replace(self, pending_reason=reason, updated_at=at)

    def apply(
        self,
        external_id: str | None,
        state: State,
        failure_message: str,
        at: datetime,
        details: Details = _NO_DETAILS,
    ) -> Self:
        """With the state that its provider reports, unless a later one is known."""
        known = replace(self, external_id=self.external_id or external_id)
        if self.is_rejected and external_id and state is not State.FAILED:
            # The provider made it although it had reported a rejection.
            known = replace(known, state=State.SUCCEEDED, failure_message="")
        elif self._was_restored_by_chain(state, details):
            known = replace(
                known, state=state, failure_message="", returned_micros=None, pending_reason=details.pending_reason
            )
        elif _RANK[state] > _RANK[self.state]:
            known = known._advanced(state, failure_message, details)
        elif state is State.FAILED:
            known = known._returned(failure_message, details)
        elif self.state is State.PENDING:
            known = replace(known, pending_reason=_IN_PROGRESS)
        elif details.is_current and self.state is State.SUCCEEDED:
            known = replace(known, pending_reason=details.pending_reason)
        return self if known == self else replace(known, updated_at=at)

    def _was_restored_by_chain(self, state: State, details: Details) -> bool:
        """Only a chain can confirm a failed refund after all, and only a current report proves it."""
        is_whole = self.returned_micros is None
        return self.state is State.FAILED and is_whole and state is State.SUCCEEDED and details.is_current

    def _advanced(self, state: State, failure_message: str, details: Details) -> Self:
        if state is State.FAILED and self.state is State.SUCCEEDED:
            after = replace(self, state=state, reversals=self.reversals + 1, returned_micros=0)
            return replace(after._returned(failure_message, details), pending_reason="")
        sent_micros = details.amount_micros if state is State.SUCCEEDED else None
        return replace(
            self, state=state, pending_reason=details.pending_reason, failure_message=failure_message,
            amount_micros=sent_micros or self.amount_micros,
        )  # fmt: skip

    def _returned(self, failure_message: str, details: Details) -> Self:
        """With the amount returned so far, which never decreases."""
        returned = details.returned_micros
        if self.returned_micros is None or (returned is not None and returned <= self.returned_micros):
            return self if self.failure_message else replace(self, failure_message=failure_message)
        if returned is None or returned >= self.amount_micros:
            return replace(self, returned_micros=None, failure_message=failure_message)
        part = f"{to_decimal(returned):,f} of {to_decimal(self.amount_micros):,f} {self.currency_code} came back"
        return replace(self, returned_micros=returned, failure_message=f"{failure_message}; {part}")

    def reservation(self) -> Sequence[Transfer]:
        """The reservation of its amount in the wallet until its outcome is known."""
        return [self._out.pending()]

    def outgoing(self, balances: Mapping[Account, int]) -> Sequence[Transfer]:
        """The transfers of a refund that was sent already, by staff or at the provider; `balances` of `accounts`."""
        return self._wallet.outgoing(self._out, balances)

    def transfers_since(self, before: Self, balances: Mapping[Account, int]) -> Sequence[Transfer]:
        """The transfers of the change from `before`; `balances` of `accounts_changed_since`."""
        if self.state is before.state is State.FAILED:
            more = replace(
                self._out, debit=self.suspense, credit=self._wallet.available,
                amount_micros=self.total_returned_micros - before.total_returned_micros,
                key=f"{self._out.key}:returned:{self.total_returned_micros}",
            )  # fmt: skip
            return self._wallet.incoming(more, balances) if more.amount_micros else []
        return self.transfers_from(before.state, balances, before.amount_micros)

    def transfers_from(
        self, before: State, balances: Mapping[Account, int], reserved_micros: int | None = None
    ) -> Sequence[Transfer]:
        """The transfers of the change from the state `before`; `balances` of `accounts`.

        `reserved_micros`: the reserved amount, if it differs from the refund's.
        """
        wallet, out = self._wallet, self._out
        reserved = replace(out, amount_micros=reserved_micros or out.amount_micros)
        match before, self.state:
            case State.PENDING, State.SUCCEEDED:
                return self._completion(reserved, balances)
            case State.PENDING, State.FAILED:
                voided = reserved.voided()
                return [voided, *wallet.repayment(reserved.amount_micros, balances, out.reference, voided.key)]
            case State.SUCCEEDED, State.FAILED:
                return self._return(balances)
            case State.FAILED, State.SUCCEEDED:
                again = f":{self.reversals}" if self.reversals else ""
                return wallet.outgoing(replace(out, key=f"{out.key}:after-all{again}"), balances)
        return []

    def _completion(self, reserved: Transfer, balances: Mapping[Account, int]) -> Sequence[Transfer]:
        """Completes the reservation with the amount sent: releases the rest, or debits the excess from the wallet."""
        wallet, out = self._wallet, self._out
        completed = reserved.completed(min(reserved.amount_micros, out.amount_micros))
        released_micros = reserved.amount_micros - out.amount_micros
        if released_micros >= 0:
            return [completed, *wallet.repayment(released_micros, balances, out.reference, completed.key)]
        more = replace(out, amount_micros=-released_micros, key=f"{out.key}:more")
        return [completed, *wallet.outgoing(more, balances)]

    def _return(self, balances: Mapping[Account, int]) -> Sequence[Transfer]:
        """Moves the returned amount into the wallet, and the amount that is missing into suspense."""
        out, again = self._out, f":{self.reversals}" if self.reversals > 1 else ""
        back = replace(
            out,
            debit=out.credit,
            credit=out.debit,
            amount_micros=self.total_returned_micros,
            key=f"{out.key}:back{again}",
        )
        missing = replace(
            out, kind="SUSPENSE", debit=out.credit, credit=self.suspense, amount_micros=self.net_micros,
            key=f"{out.key}:missing{again}",
        )  # fmt: skip
        returned = self._wallet.incoming(back, balances) if back.amount_micros else []
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
