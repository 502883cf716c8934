"""Reads payments of one or any organization, and saves changes together with the events that announce them."""

from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from adplatform.events.v1.events_pb2 import PaymentChanged

from adlib.db import Session, Transaction
from adlib.outbox import Outbox
from payment_service.payments import store
from payment_service.payments.messages import to_pb
from payment_service.payments.model import Payment, PaymentNotFound


class PaymentRecords:
    """The payments that other features change; always in the caller's transaction."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def get(self, db: Session, organization_id: UUID, payment_id: UUID) -> Payment:
        """The organization's payment; PAYMENT_NOT_FOUND."""
        return _found(store.get(db, organization_id, payment_id), payment_id)

    def get_any_tenant(self, db: Session, payment_id: UUID) -> Payment:
        """The payment of any organization; PAYMENT_NOT_FOUND."""
        return _found(store.get_any_tenant(db, payment_id), payment_id)

    def lock_any_tenant(self, tx: Transaction, payment_id: UUID) -> Payment:
        """The payment of any organization, locked; PAYMENT_NOT_FOUND."""
        provider = self.get_any_tenant(tx, payment_id).provider
        return _found(store.lock_any_tenant(tx, payment_id, provider), payment_id)

    def lock_all_any_tenant(self, tx: Transaction, *payment_ids: UUID | None) -> Mapping[UUID, Payment]:
        """The payments by id, locked in the order of their ids, which avoids deadlocks; PAYMENT_NOT_FOUND."""
        return {id: self.lock_any_tenant(tx, id) for id in sorted({id for id in payment_ids if id})}

    def add(self, tx: Transaction, payment: Payment) -> bool:
        """Stores and announces a new payment; False if the organization has used its idempotency key before."""
        if not store.add(tx, payment):
            return False
        self._outbox.append(tx, payment.organization_id, PaymentChanged(payment=to_pb(payment)))
        return True

    def save(self, tx: Transaction, before: Payment, after: Payment) -> Payment:
        """Stores the changed state of a locked payment, and announces it if the change is visible to clients."""
        if after != before:
            store.save(tx, after)
            if to_pb(after) != to_pb(replace(before, updated_at=after.updated_at)):
                self._outbox.append(tx, after.organization_id, PaymentChanged(payment=to_pb(after)))
        return after


def _found(payment: Payment | None, payment_id: UUID) -> Payment:
    if payment is None:
        raise PaymentNotFound(payment_id)
    return payment
