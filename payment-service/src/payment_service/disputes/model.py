"""A dispute's life cycle, and the transfers that freeze, release and take its money."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from payment_service.ledger.model import Account, Kind, Transfer, Wallet


class State(StrEnum):
    """The state of a dispute."""

    OPEN = "OPEN"
    LOST = "LOST"
    WON = "WON"


# Reports are repeated and out of order, so a dispute only moves to a higher rank: a lost one may be won on appeal.
_RANK = {State.OPEN: 0, State.LOST: 1, State.WON: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """A chargeback by a customer's bank; `frozen_micros` of it were in the wallet when it was opened."""

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
        """Every account of the organization that it may affect."""
        wallet = self._wallet
        return wallet.available, wallet.debt, wallet.clearing(self.provider)

    @property
    def fees(self) -> Account:
        """The platform's account for the provider's dispute fees."""
        return Account(Kind.FEES, self.currency_code, None, self.provider)

    @property
    def disputed_micros(self) -> int:
        """The amount that the customer's bank has taken or may take."""
        return 0 if self.state is State.WON else self.amount_micros

    def apply(self, state: State, reason: str, fee_micros: int, at: datetime) -> Self:
        """With the state that its provider reports, unless a later one is known."""
        known = replace(
            self,
            state=state if _RANK[state] > _RANK[self.state] else self.state,
            reason=self.reason or reason,
            fee_micros=self.fee_micros or fee_micros,
        )
        return self if known == self else replace(known, updated_at=at)

    def frozen(self, balances: Mapping[Account, int]) -> Self:
        """With the part of it that the wallet can cover frozen."""
        covered_micros = max(0, min(self.amount_micros, balances[self._wallet.available]))
        return replace(self, frozen_micros=covered_micros)

    def fee_since(self, before: Self | None) -> Sequence[Transfer]:
        """The transfer of the provider's fee, if it was not known before; the platform bears it."""
        if not self.fee_micros or (before and before.fee_micros):
            return []
        clearing = self._wallet.clearing(self.provider)
        return [Transfer("FEE", self.fees, clearing, self.fee_micros, self.payment_id, f"{self._key}:fee")]

    def transfers_since(self, before: Self | None, balances: Mapping[Account, int]) -> Sequence[Transfer]:
        """The transfers of the change from `before`; `balances` of `accounts`."""
        wallet, frozen, key = self._wallet, self._out(self.frozen_micros), self._key
        match before and before.state, self.state:
            case None, State.OPEN:
                return [frozen.pending()] if self.frozen_micros else []
            case None | State.OPEN, State.LOST:
                # The part that was spent becomes debt.
                rest = replace(self._out(self.amount_micros - self.frozen_micros), key=f"{key}:rest")
                completed = [frozen.completed()] if self.frozen_micros else []
                return [*completed, *wallet.outgoing(rest, balances)]
            case State.OPEN, State.WON if self.frozen_micros:
                voided = frozen.voided()
                return [voided, *wallet.repayment(self.frozen_micros, balances, self.payment_id, voided.key)]
            case State.LOST, State.WON:
                out = self._out(self.amount_micros)
                return wallet.incoming(replace(out, debit=out.credit, credit=out.debit, key=f"{key}:back"), balances)
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
