"""Releases reservations that have expired."""

from collections.abc import Sequence
from uuid import UUID

from adlib.clock import Clock
from adlib.db import Database
from adlib.ids import NewId
from payment_service.ledger import store
from payment_service.ledger.model import Wallet


class ReservationService:
    """The use cases of PENDING transfers that have not ended before their expiry."""

    def __init__(self, db: Database, clock: Clock, ids: NewId) -> None:
        self._db = db
        self._clock = clock
        self._ids = ids

    def expired(self, limit: int) -> Sequence[UUID]:
        """The ids of PENDING transfers past their expiry."""
        return store.expired_any_tenant(self._db, self._clock.now(), limit)

    def void(self, transfer_id: UUID) -> bool:
        """Releases the reserved amount, which pays debt first; False if the transfer has ended already."""
        with self._db.transaction() as tx:
            pending = store.pending_any_tenant(tx, transfer_id)
            if pending is None:
                return False
            owner = pending.debit.organization_id
            wallet = Wallet(owner, pending.debit.currency_code) if owner else None
            own = [wallet.available, wallet.debt] if wallet else []
            balances = store.lock(tx, {pending.debit, pending.credit, *own})
            if store.pending_any_tenant(tx, transfer_id) is None:
                return False
            posted = [pending.voided()]
            if wallet and pending.debit == wallet.available:
                posted += wallet.repayment(pending.amount_micros, balances, pending.reference, posted[0].key)
            store.post(tx, posted, self._ids)
            return True
