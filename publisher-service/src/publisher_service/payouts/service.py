"""Requests, approves, rejects and settles payouts.

Each step is stored before payment-service is called, and again after the call, which can be repeated. A step that was
interrupted is resumed by a repeated request, by the retries or by the job.
"""

from typing import TypeVar
from uuid import UUID

import grpc
from google.protobuf.message import Message

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import Aborted, AppError, RemoteError
from adlib.idempotency import Idempotency, KeyReused
from adlib.ids import NewId
from adlib.rpc import Caller
from adlib.telemetry import logger
from publisher_service.payouts import store
from publisher_service.payouts.clients.payment import Ledger
from publisher_service.payouts.model import NewPayout, Outcome, Payout, PayoutNotFound, State
from publisher_service.publishers import store as publishers
from publisher_service.publishers.model import PublisherNotFound

M = TypeVar("M", bound=Message)

_log = logger(__name__)


class PayoutService:
    """The use cases of payouts: a publisher requests, staff decide, payment-service transfers the money."""

    def __init__(self, db: Database, ledger: Ledger, clock: Clock, ids: NewId) -> None:
        self._db = db
        self._clock = clock
        self._ids = ids
        self._calls = {State.RESERVING: ledger.reserve, State.APPROVED: ledger.send, State.REJECTING: ledger.cancel}

    def request(self, caller: Caller, new: NewPayout, idempotency: Idempotency[Payout, M]) -> M:
        """Creates a payout and reserves its amount.

        INVALID_FIELD, PUBLISHER_NOT_FOUND, PUBLISHER_NOT_APPROVED, INSUFFICIENT_FUNDS, IDEMPOTENCY_KEY_REUSED.
        """
        new.check()
        with self._db.transaction() as tx:
            if (seen := idempotency.replay(tx)) is not None:
                return seen
            payout = store.by_key(tx, caller.organization_id, idempotency.key) if idempotency.key else None
            if payout is None:
                payout = self._create(tx, caller, new, idempotency.key)
            elif not payout.has_same_request(new):
                # The payout's row has the key for longer than the stored response exists.
                raise KeyReused
        payout = self._call_ledger(payout.id)
        with self._db.transaction() as tx:
            return idempotency.record(tx, payout)

    def get(self, caller: Caller, payout_id: UUID) -> Payout:
        """The payout; PAYOUT_NOT_FOUND where the caller may not see it."""
        if caller.is_staff:
            found = store.find_any_tenant(self._db, payout_id)
        else:
            found = store.find(self._db, caller.organization_id, payout_id)
        return _existing(found, payout_id)

    def approve(self, caller: Caller, payout_id: UUID) -> Payout:
        """Sends the amount, for staff; while payment-service does not answer, the payout stays APPROVED.

        PAYOUT_NOT_FOUND, PAYOUT_SELF_APPROVAL, PAYOUT_STATE_INVALID.
        """
        with self._db.transaction() as tx:
            payout = self._lock_for_staff(tx, caller, payout_id)
            approved = payout.approved(caller.user_id, self._clock.now())
            if approved is not payout:
                store.update_state(tx, approved)
        return self._try_to_call_ledger(approved)

    def reject(self, caller: Caller, payout_id: UUID, reason: str) -> Payout:
        """Returns the amount to the publisher's balance, for staff; PAYOUT_NOT_FOUND, PAYOUT_STATE_INVALID."""
        with self._db.transaction() as tx:
            payout = self._lock_for_staff(tx, caller, payout_id)
            rejected = payout.rejected(caller.user_id, reason, self._clock.now())
            if rejected is not payout:
                store.update_state(tx, rejected)
        return self._try_to_call_ledger(rejected)

    def settle(self, payout_id: UUID, outcome: Outcome, reason: str) -> None:
        """Applies an outcome of the payout's transfer. Outcomes arrive in any order and more than once."""
        with self._db.transaction() as tx:
            payout = store.lock_any_tenant(tx, payout_id)
            if payout is None:
                _log.error("settled_payout_unknown", payout=str(payout_id), outcome=outcome.value)
                return
            settled = payout.settled(outcome, reason, self._clock.now())
            if settled is payout:
                _log.info("settlement_not_applied", payout=str(payout_id), outcome=outcome, state=payout.state)
            else:
                store.update_state(tx, settled)

    def pending(self, limit: int) -> list[UUID]:
        """Payouts with a call to payment-service that is due, longest due first."""
        return list(store.pending_any_tenant(self._db, self._clock.now(), limit))

    def resume(self, payout_id: UUID) -> None:
        """Repeats the pending call to payment-service; deletes the payout where it refuses to reserve the amount."""
        try:
            self._call_ledger(payout_id)
        except AppError:
            if self._delay(payout_id):
                raise

    def _create(self, tx: Transaction, caller: Caller, new: NewPayout, key: str) -> Payout:
        publisher = publishers.find(tx, caller.organization_id, new.publisher_id)
        if publisher is None:
            raise PublisherNotFound(new.publisher_id)
        publisher.require_approved()
        payout = Payout.requested(self._ids(), publisher.organization_id, caller.user_id, new, self._clock.now())
        store.add(tx, payout, key)
        return payout

    @staticmethod
    def _lock_for_staff(tx: Transaction, caller: Caller, payout_id: UUID) -> Payout:
        return _existing(store.lock_any_tenant(tx, payout_id) if caller.is_staff else None, payout_id)

    def _try_to_call_ledger(self, payout: Payout) -> Payout:
        """Calls payment-service; a failure is logged, and the retries call it again, since the decision is stored."""
        try:
            return self._call_ledger(payout.id)
        except AppError as error:
            _log.warning("payout_call_deferred", payout=str(payout.id), state=payout.state, error=error.message)
            return payout

    def _call_ledger(self, payout_id: UUID) -> Payout:
        """Makes the payout's pending call, one at a time: a late refusal must not delete a payout that was reserved."""
        with self._db.advisory_lock(f"payout:{payout_id}") as is_locked:
            payout = store.find_any_tenant(self._db, payout_id)
            if payout is None or not is_locked:
                raise Aborted("another call is changing this payout; try again")
            call = self._calls.get(payout.state)
            if call is None:
                return payout
            try:
                call(payout)
            except RemoteError as refusal:
                if payout.state is State.RESERVING and refusal.code is not grpc.StatusCode.ABORTED:
                    self._delete_refused(payout, refusal)
                raise
            with self._db.transaction() as tx:
                current = store.lock_any_tenant(tx, payout_id)
                if current is None:
                    raise PayoutNotFound(payout_id)
                # An event about the transfer may have arrived before the response.
                if current.state is payout.state:
                    current = current.advanced(self._clock.now())
                    store.update_state(tx, current)
            return current

    def _delete_refused(self, payout: Payout, refusal: RemoteError) -> None:
        _log.info("payout_refused", payout=str(payout.id), error=refusal.message)
        with self._db.transaction() as tx:
            store.remove(tx, payout)

    def _delay(self, payout_id: UUID) -> bool:
        """Schedules the next retry; False where the payout was deleted."""
        with self._db.transaction() as tx:
            payout = store.lock_any_tenant(tx, payout_id)
            if payout:
                store.update_state(tx, payout.delayed(self._clock.now()))
        return payout is not None


def _existing(payout: Payout | None, payout_id: UUID) -> Payout:
    """The payout; PAYOUT_NOT_FOUND while its amount is not reserved."""
    if payout is None or payout.state is State.RESERVING:
        raise PayoutNotFound(payout_id)
    return payout
