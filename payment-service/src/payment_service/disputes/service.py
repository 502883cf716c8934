"""Books provider reports about disputes. Locks the payment before accounts."""

from adlib.clock import Clock
from adlib.db import Transaction
from adlib.ids import NewId
from adlib.telemetry import logger
from payment_service.disputes import store
from payment_service.disputes.model import Dispute, State
from payment_service.ledger import store as ledger
from payment_service.payments import store as payment_store
from payment_service.payments.model import Payment
from payment_service.payments.service import PaymentRecords
from payment_service.providers.model import DisputeReport

_log = logger(__name__)


class DisputeService:
    """The use case of disputes, which only providers report."""

    def __init__(self, payments: PaymentRecords, clock: Clock, ids: NewId) -> None:
        self._payments = payments
        self._clock = clock
        self._ids = ids

    def settle_in(self, tx: Transaction, provider: str, report: DisputeReport) -> bool:
        """Books the report in the caller's transaction.

        False if the payment is unknown or has another currency. Repeated and outdated reports change nothing.
        """
        payment = payment_store.lock_any_tenant(tx, report.payment_id, provider)
        if payment is None or report.currency_code != payment.currency_code:
            return False
        now = self._clock.now()
        before = store.get_by_external_id_any_tenant(tx, provider, report.external_id)
        state = State(report.state)
        if before is None:
            after = self._new(payment, report)
        else:
            after = before.apply(state, report.reason, report.fee_micros, now)
        if after == before:
            return True
        balances = ledger.lock(tx, after.accounts)
        if before is None:
            after = after.frozen(balances) if state is State.OPEN else after
            store.add(tx, after)
        else:
            store.save(tx, after)
        fee = after.fee_since(before)
        if fee:
            # Shared by all organizations, so locked last.
            ledger.lock(tx, [after.fees])
        ledger.post(tx, [*after.transfers_since(before, balances), *fee], self._ids)
        if delta_micros := after.disputed_micros - (before.disputed_micros if before else 0):
            self._payments.save(tx, payment, payment.disputing(delta_micros, now))
        _log.warning(
            "dispute_changed", dispute=str(after.id), payment=str(payment.id), state=after.state, reason=after.reason
        )
        return True

    def _new(self, payment: Payment, report: DisputeReport) -> Dispute:
        now = self._clock.now()
        return Dispute(
            id=self._ids(),
            provider=payment.provider,
            external_id=report.external_id,
            payment_id=payment.id,
            organization_id=payment.organization_id,
            amount_micros=report.amount_micros,
            currency_code=payment.currency_code,
            state=State(report.state),
            reason=report.reason,
            fee_micros=report.fee_micros,
            created_at=now,
            updated_at=now,
        )
