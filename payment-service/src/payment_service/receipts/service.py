"""Reading receipts; they are issued where a payment is credited."""

from uuid import UUID

from adlib.db import Database
from payment_service.receipts import store
from payment_service.receipts.model import Receipt


class ReceiptService:
    """The use cases of receipts."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, organization_id: UUID, payment_id: UUID) -> Receipt:
        """The receipt of the organization's payment; PAYMENT_NOT_FOUND, PAYMENT_STATE_INVALID."""
        return store.get(self._db, organization_id, payment_id)
