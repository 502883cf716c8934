"""Reads receipts; they are issued when a payment is credited."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from adlib.db import Database
from payment_service.clients.organizations import OrganizationNames
from payment_service.receipts import store
from payment_service.receipts.model import Receipt


class ReceiptService:
    """The use cases of receipts.

    `issuer`: the lines of text that identify the issuer. `payment_methods`: the payment method of each provider,
    by its name.
    """

    def __init__(
        self, db: Database, names: OrganizationNames, issuer: Sequence[str], payment_methods: Mapping[str, str]
    ) -> None:
        self._db = db
        self._names = names
        self._issuer = issuer
        self._payment_methods = payment_methods

    def get(self, organization_id: UUID, payment_id: UUID) -> Receipt:
        """The receipt of the organization's payment; PAYMENT_NOT_FOUND, PAYMENT_STATE_INVALID."""
        receipt = store.get(self._db, organization_id, payment_id)
        return replace(
            receipt,
            organization_name=self._names.get(organization_id),
            issuer=self._issuer,
            payment_method=self._payment_methods[receipt.provider],
        )
