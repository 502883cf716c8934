"""A dispute's life, and how its money is frozen, freed and taken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from payment_service.ledger.model import Account, Kind, Transfer
from payment_service.ledger.wallet import Wallet


class State(StrEnum):
    """Where a dispute is in its life."""

    OPEN = "OPEN"
    LOST = "LOST"
    WON = "WON"


# News come twice and in any order, so a dispute only ever moves up: one that was lost may be won by an appeal.
_RANK = {State.OPEN: 0, State.LOST: 1, State.WON: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """What a customer's bank asks back; `frozen_micros` of it were in the wallet when we heard of it."""

    id: UUID
    provider: str
    external_id: str
    payment_id: UUID
    organization_id: UUID
    amount_micros: int
    frozen_micros: int = 0
    currency_code: str
    state: State
    reason: str
    fee_micros: int = 0
    created_at: datetime
    updated_at: datetime

    @property
    def accounts(self) -> Sequence[Account]:
        """Every account of the organization's that it may touch."""
        wallet = self._wallet
        return wallet.available, wallet.debt, wallet.clearing(self.provider)

    @property
    def fees(self) -> Account:
        """The platform's: what providers took for disputes."""
        return Account(Kind.FEES, self.currency_code, None, self.provider)

    @property
    def held_micros(self) -> int:
        """What the customer's bank has of the payment, or may have."""
        return 0 if self.state is State.WON else self.amount_micros

    def apply(self, state: State, reason: str, fee_micros: int, at: datetime) -> Self:
        """As its provider says, unless more is known already."""
        known = replace(
            self,
            state=state if _RANK[state] > _RANK[self.state] else self.state,
            reason=self.reason or reason,
            fee_micros=self.fee_micros or fee_micros,
        )
        return self if known == self else replace(known, updated_at=at)

    def frozen(self, balances: Mapping[Account, int]) -> Self:
        """With as much of it set aside as the wallet has."""
        there_micros = max(0, min(self.amount_micros, balances[self._wallet.available]))
        return replace(self, frozen_micros=there_micros)

    def moved_from(self, before: Self | None, balances: Mapping[Account, int]) -> Sequence[Transfer]:
        """What goes with the change from what was known before; `balances` of `accounts`."""
        return self._moves(before.state if before else None, balances)

    def fee_since(self, before: Self | None) -> Sequence[Transfer]:
        """What the provider took for it, if that is new; the platform bears it, once."""
        if not self.fee_micros or (before and before.fee_micros):
            return []
        clearing = self._wallet.clearing(self.provider)
        return [Transfer("FEE", self.fees, clearing, self.fee_micros, self.payment_id, f"{self._key}:fee")]

    def _moves(self, before: State | None, balances: Mapping[Account, int]) -> Sequence[Transfer]:
        wallet, aside, key = self._wallet, self._out(self.frozen_micros), self._key
        match before, self.state:
            case None, State.OPEN:
                return [aside.pending()] if self.frozen_micros else []
            case None | State.OPEN, State.LOST:
                # What was spent becomes a debt.
                rest = replace(self._out(self.amount_micros - self.frozen_micros), key=f"{key}:rest")
                ended = [aside.completed()] if self.frozen_micros else []
                return [*ended, *wallet.take(rest, balances)]
            case State.OPEN, State.WON if self.frozen_micros:
                voided = aside.voided()
                return [voided, *wallet.freed(self.frozen_micros, balances, self.payment_id, voided.key)]
            case State.LOST, State.WON:
                out = self._out(self.amount_micros)
                return wallet.put(replace(out, debit=out.credit, credit=out.debit, key=f"{key}:back"), balances)
        return []

    def _out(self, amount_micros: int) -> Transfer:
        wallet = self._wallet
        clearing = wallet.clearing(self.provider)
        return Transfer("DISPUTE", wallet.available, clearing, amount_micros, self.payment_id, self._key)

    @property
    def _key(self) -> str:
        return f"dispute:{self.id}"

    @property
    def _wallet(self) -> Wallet:
        return Wallet(self.organization_id, self.currency_code)
