"""Lists unmatched deposits and assigns them to payments."""

from uuid import UUID

from adlib.db import Database
from adlib.paging import Page, Slice, cut
from adlib.rpc import Caller
from payment_service.bookings.service import PaymentBooking
from payment_service.deposits import store
from payment_service.deposits.model import Deposit, DepositNotFound


class SuspenseService:
    """Only for staff of the platform: other callers see no unmatched deposits."""

    def __init__(self, db: Database, booking: PaymentBooking) -> None:
        self._db = db
        self._booking = booking

    def list_page(self, caller: Caller, page: Page) -> Slice[Deposit]:
        """Unmatched deposits, newest first."""
        rows = store.unmatched_any_tenant(self._db, page) if caller.is_staff else []
        return cut(rows, page, lambda deposit: deposit.id)

    def assign(self, caller: Caller, deposit_id: UUID, payment_id: UUID) -> Deposit:
        """Credits the deposit to a payment of any organization; a repeat changes nothing.

        DEPOSIT_NOT_FOUND, PAYMENT_NOT_FOUND, CURRENCY_MISMATCH, DEPOSIT_ASSIGNED, DEPOSIT_NOT_ASSIGNABLE.
        """
        if not caller.is_staff:
            raise DepositNotFound(deposit_id)
        return self._booking.assign(deposit_id, payment_id)
