"""Finding the owners of money that nobody could tell the owner of."""

from uuid import UUID

from adlib.db import Database
from adlib.paging import Page, Slice, cut
from adlib.rpc import Caller
from payment_service.deposits import store
from payment_service.deposits.model import Deposit, DepositNotFound
from payment_service.payments.service import PaymentService


class SuspenseService:
    """Staff of the platform see all that is unmatched and assign it; for everybody else there is nothing."""

    def __init__(self, db: Database, payments: PaymentService) -> None:
        self._db = db
        self._payments = payments

    def list_page(self, caller: Caller, page: Page) -> Slice[Deposit]:
        """What belongs to nobody yet, newest first."""
        rows = store.unmatched_of_anyone(self._db, page) if caller.is_staff else []
        return cut(rows, page, lambda deposit: deposit.id)

    def assign(self, caller: Caller, deposit_id: UUID, payment_id: UUID) -> Deposit:
        """Credits it to anyone's payment; a repeat changes nothing.

        DEPOSIT_NOT_FOUND, PAYMENT_NOT_FOUND, CURRENCY_MISMATCH, DEPOSIT_ASSIGNED.
        """
        if not caller.is_staff:
            raise DepositNotFound(deposit_id)
        return self._payments.assign(deposit_id, payment_id)
