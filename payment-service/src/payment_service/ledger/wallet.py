"""An organization's wallet: what comes in pays debts first, and what is taken back beyond what is there becomes one."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from payment_service.ledger.model import Account, Kind, Transfer


@dataclass(frozen=True, slots=True)
class Wallet:
    """What an organization has in a currency, and what it owes."""

    organization_id: UUID
    currency_code: str

    @property
    def available(self) -> Account:
        """What it can spend."""
        return Account(Kind.AVAILABLE, self.currency_code, self.organization_id)

    @property
    def debt(self) -> Account:
        """What it owes, below zero."""
        return Account(Kind.DEBT, self.currency_code, self.organization_id)

    def clearing(self, provider: str) -> Account:
        """What a provider has for it, below zero."""
        return Account(Kind.PROVIDER_CLEARING, self.currency_code, self.organization_id, provider)

    def put(self, transfer: Transfer, balances: Mapping[Account, int]) -> list[Transfer]:
        """The transfer into `available`, and what of it pays the debt; `balances` as they are before, locked."""
        return [transfer, *self.freed(transfer.amount_micros, balances, transfer.reference, transfer.key)]

    def freed(self, amount_micros: int, balances: Mapping[Account, int], reference: UUID, cause: str) -> list[Transfer]:
        """What pays the debt when so much becomes available; `cause` is the key of the transfer that makes it so."""
        repaid_micros = min(amount_micros, -balances[self.debt])
        if repaid_micros <= 0:
            return []
        return [Transfer("DEBT_REPAYMENT", self.available, self.debt, repaid_micros, reference, f"repay:{cause}")]

    def take(self, transfer: Transfer, balances: Mapping[Account, int]) -> list[Transfer]:
        """The transfer out of `available` as far as there is enough, and the rest as a debt: the money has gone."""
        there_micros = max(0, min(transfer.amount_micros, balances[self.available]))
        parts = (
            (self.available, there_micros, transfer.key),
            (self.debt, transfer.amount_micros - there_micros, f"{transfer.key}:debt"),
        )
        return [
            Transfer(transfer.kind, account, transfer.credit, amount_micros, transfer.reference, key)
            for account, amount_micros, key in parts
            if amount_micros
        ]
