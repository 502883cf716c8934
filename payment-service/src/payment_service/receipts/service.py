"""Reading receipts; they are issued where a payment is credited."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from adlib.db import Database
from payment_service.receipts import store
from payment_service.receipts.model import Receipt
from payment_service.receipts.names import Names


class ReceiptService:
    """The use cases of receipts."""

    def __init__(self, db: Database, names: Names, issuer: Sequence[str]) -> None:
        """`issuer` is the lines that say who issues them."""
        self._db = db
        self._names = names
        self._issuer = issuer

    def get(self, organization_id: UUID, payment_id: UUID) -> Receipt:
        """The receipt of the organization's payment; PAYMENT_NOT_FOUND, PAYMENT_STATE_INVALID."""
        receipt = store.get(self._db, organization_id, payment_id)
        return replace(receipt, organization_name=self._names.of(organization_id), issuer=self._issuer)
