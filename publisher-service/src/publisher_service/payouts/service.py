"""The use cases of a payout's life.

What has been decided is stored first; then payment-service is told, by a call that can be repeated; then that it has
been told is stored. Whatever ends in between is carried on by a repeat of the request, the retries or the job.
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
from publisher_service.clients.payment import Ledger
from publisher_service.payouts import store
from publisher_service.payouts.model import NewPayout, Outcome, Payout, PayoutNotFound, State
from publisher_service.publishers import store as publishers
from publisher_service.publishers.model import PublisherNotFound

M = TypeVar("M", bound=Message)

_log = logger(__name__)


class PayoutService:
    """A publisher's organization asks; staff decide; payment-service moves the money."""

    def __init__(self, db: Database, ledger: Ledger, clock: Clock, ids: NewId) -> None:
        self._db = db
        self._clock = clock
        self._ids = ids
        self._calls = {State.RESERVING: ledger.reserve, State.APPROVED: ledger.send, State.REJECTING: ledger.cancel}

    def request(self, caller: Caller, new: NewPayout, idempotency: Idempotency[Payout, M]) -> M:
        """Asks for money and has it set aside.

        INVALID_FIELD, PUBLISHER_NOT_FOUND, PUBLISHER_NOT_APPROVED, INSUFFICIENT_FUNDS, IDEMPOTENCY_KEY_REUSED.
        """
        new.check()
        with self._db.transaction() as tx:
            if (seen := idempotency.replay(tx)) is not None:
                return seen
            payout = store.by_key(tx, caller.organization_id, idempotency.key) if idempotency.key else None
            if payout is None:
                payout = self._begin(tx, caller, new, idempotency.key)
            elif not payout.asks_the_same(new):
                # The key is kept with the payout for longer than with its answer.
                raise KeyReused
        payout = self._carry_on(payout.id)
        with self._db.transaction() as tx:
            return idempotency.record(tx, payout)

    def get(self, caller: Caller, payout_id: UUID) -> Payout:
        """The payout; PAYOUT_NOT_FOUND where the caller may not see it."""
        if caller.is_staff:
            found = store.staff_find(self._db, payout_id)
        else:
            found = store.find(self._db, caller.organization_id, payout_id)
        return _existing(found, payout_id)

    def approve(self, caller: Caller, payout_id: UUID) -> Payout:
        """Has the money sent, by staff; while payment-service does not answer the payout stays APPROVED.

        PAYOUT_NOT_FOUND, PAYOUT_SELF_APPROVAL, PAYOUT_STATE_INVALID.
        """
        with self._db.transaction() as tx:
            payout = self._lock_for_staff(tx, caller, payout_id)
            approved = payout.approve(caller.user_id, self._clock.now())
            if approved is not payout:
                store.update_state(tx, approved)
        return self._try_to_carry_on(approved)

    def reject(self, caller: Caller, payout_id: UUID, reason: str) -> Payout:
        """Has the money given back to the publisher, by staff; PAYOUT_NOT_FOUND, PAYOUT_STATE_INVALID."""
        with self._db.transaction() as tx:
            payout = self._lock_for_staff(tx, caller, payout_id)
            rejected = payout.reject(caller.user_id, reason, self._clock.now())
            if rejected is not payout:
                store.update_state(tx, rejected)
        return self._try_to_carry_on(rejected)

    def settle(self, payout_id: UUID, outcome: Outcome, reason: str) -> None:
        """Takes news of a payout's transfer. They come in any order and more than once: a state never goes back."""
        with self._db.transaction() as tx:
            payout = store.staff_lock(tx, payout_id)
            if payout is None:
                _log.error("settled_payout_unknown", payout=str(payout_id), outcome=outcome.value)
                return
            settled = payout.settled(outcome, reason, self._clock.now())
            if settled is payout:
                _log.info("settlement_changes_nothing", payout=str(payout_id), outcome=outcome, state=payout.state)
            else:
                store.update_state(tx, settled)

    def left_over(self, limit: int) -> list[UUID]:
        """Payouts that a crash or an outage left half done, longest first."""
        return list(store.staff_left_over(self._db, self._clock.now(), limit))

    def finish(self, payout_id: UUID) -> None:
        """Carries on with a payout that was left half done; what payment-service refused to set aside is gone."""
        try:
            self._carry_on(payout_id)
        except AppError:
            if self._delay(payout_id):
                raise

    def _begin(self, tx: Transaction, caller: Caller, new: NewPayout, key: str) -> Payout:
        publisher = publishers.find(tx, caller.organization_id, new.publisher_id)
        if publisher is None:
            raise PublisherNotFound(new.publisher_id)
        publisher.require_approved()
        payout = Payout.requested(self._ids(), publisher.organization_id, caller.user_id, new, self._clock.now())
        store.add(tx, payout, key)
        return payout

    @staticmethod
    def _lock_for_staff(tx: Transaction, caller: Caller, payout_id: UUID) -> Payout:
        return _existing(store.staff_lock(tx, payout_id) if caller.is_staff else None, payout_id)

    def _try_to_carry_on(self, payout: Payout) -> Payout:
        """The decision stands whether or not payment-service can be told of it now."""
        try:
            return self._carry_on(payout.id)
        except AppError as error:
            _log.warning("payout_waits", payout=str(payout.id), state=payout.state, error=error.message)
            return payout

    def _carry_on(self, payout_id: UUID) -> Payout:
        """Tells payment-service what it has yet to be told; one at a time, so that no late refusal meets a success."""
        with self._db.advisory_lock(f"payout:{payout_id}") as alone:
            payout = store.staff_find(self._db, payout_id)
            if payout is None or not alone:
                raise Aborted("another call is working on this payout right now; try again")
            call = self._calls.get(payout.state)
            if call is None:
                return payout
            try:
                call(payout)
            except RemoteError as refusal:
                if payout.state is State.RESERVING and refusal.code is not grpc.StatusCode.ABORTED:
                    self._take_back(payout, refusal)
                raise
            with self._db.transaction() as tx:
                current = store.staff_lock(tx, payout_id)
                if current is None:
                    raise PayoutNotFound(payout_id)
                # News of the transfer may have been faster than the answer.
                if current.state is payout.state:
                    current = current.carried_on(self._clock.now())
                    store.update_state(tx, current)
            return current

    def _take_back(self, payout: Payout, refusal: RemoteError) -> None:
        _log.info("payout_refused", payout=str(payout.id), error=refusal.message)
        with self._db.transaction() as tx:
            store.remove(tx, payout)

    def _delay(self, payout_id: UUID) -> bool:
        """Has the payout tried again later; whether it is still there."""
        with self._db.transaction() as tx:
            payout = store.staff_lock(tx, payout_id)
            if payout:
                store.update_state(tx, payout.delayed(self._clock.now()))
        return payout is not None


def _existing(payout: Payout | None, payout_id: UUID) -> Payout:
    """The payout; PAYOUT_NOT_FOUND while its money is not set aside."""
    if payout is None or payout.state is State.RESERVING:
        raise PayoutNotFound(payout_id)
    return payout
