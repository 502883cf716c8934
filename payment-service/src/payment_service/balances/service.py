"""Reads balances and statements, and verifies the ledger."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from adlib.db import Database
from adlib.ids import min_id_at
from adlib.money import currency
from adlib.paging import Page, Slice, cut
from payment_service.balances import store
from payment_service.balances.model import Balance, PublisherBalance, StatementLine, Verification


class BalanceService:
    """The use cases of balances; all of them only read."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def balance(self, organization_id: UUID, currency_code: str, at: datetime | None = None) -> Balance:
        """The organization's balance, now or just before `at`; the currency defaults to USD. CURRENCY_UNSUPPORTED."""
        before = min_id_at(at) if at else None
        return store.balance(self._db, organization_id, currency(currency_code), before)

    def statement(
        self, organization_id: UUID, currency_code: str, part: Page, start: datetime | None, end: datetime | None
    ) -> Slice[StatementLine]:
        """The changes of the organization's balance in [`start`, `end`), newest first; CURRENCY_UNSUPPORTED."""
        since = min_id_at(start) if start else UUID(int=0)
        before = min(part.before, min_id_at(end)) if end else part.before
        rows = store.statement(self._db, organization_id, currency(currency_code), since, before, part.limit)
        return cut(rows, part, lambda line: line.id)

    def publisher_balances(self, publisher_ids: Collection[UUID]) -> Sequence[PublisherBalance]:
        """The balances of these publishers, one per currency."""
        return store.of_publishers_any_tenant(self._db, publisher_ids)

    def verify(self) -> Sequence[Verification]:
        """Derives every balance from the transfers and compares, per currency."""
        return store.verify_any_tenant(self._db)
