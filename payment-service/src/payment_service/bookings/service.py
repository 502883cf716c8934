"""Books provider reports about payments: incoming funds, reversals, and unmatched deposits.

Locks the payment first, then its deposits, then accounts. Repeated and outdated reports change nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from uuid import UUID

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.telemetry import logger
from payment_service.deposits.model import Deposit
from payment_service.deposits.service import DepositService
from payment_service.payments import store
from payment_service.payments.model import IncomingFunds, Payment, Recall, Report, State
from payment_service.payments.service import PaymentRecords

_log = logger(__name__)


class PaymentBooking:
    """Applies provider reports to payments; methods ending in `_in` run in the caller's transaction."""

    def __init__(
        self,
        db: Database,
        payments: PaymentRecords,
        deposits: DepositService,
        transfer_providers: Collection[str],
        clock: Clock,
    ) -> None:
        """`transfer_providers`: providers that receive, and can refund, transfers which no payment requested."""
        self._db = db
        self._payments = payments
        self._deposits = deposits
        self._transfer_providers = transfer_providers
        self._clock = clock

    def settle(self, payment_id: UUID, provider: str, report: Report) -> Payment | None:
        """Books the report and returns the payment; None if the provider has no such payment."""
        with self._db.transaction() as tx:
            return self.settle_in(tx, payment_id, provider, report)

    def settle_in(self, tx: Transaction, payment_id: UUID, provider: str, report: Report) -> Payment | None:
        """Books the report and returns the payment; None if the provider has no such payment."""
        before = store.lock_any_tenant(tx, payment_id, provider)
        if before is None or before.external_id not in (None, report.external_id):
            _log.error("payment_unknown", payment=str(payment_id), provider=provider, external_id=report.external_id)
            return None
        after = replace(before, external_id=report.external_id)
        for funds in report.incoming:
            after = self._deposits.book(tx, after, funds)
        waiting_reason = self._deposits.unmatched_reason(tx, before) or _unconfirmed_reason(before, report)
        if waiting_reason and report.state is State.EXPIRED:
            # The payment must stay open while staff have a deposit of it to assign.
            report = replace(report, state=State.PENDING)
        now = self._clock.now()
        after = after.apply(report, now)
        return self._payments.save(
            tx, before, after.waiting(waiting_reason, now) if waiting_reason and not after.is_paid else after
        )

    def suspend_in(self, tx: Transaction, provider: str, funds: IncomingFunds) -> None:
        """Books funds that match no payment to the suspense account, until staff assign them."""
        self._deposits.suspend(tx, provider, funds)

    def reverse_in(self, tx: Transaction, provider: str, key: str, recall: Recall | None = None) -> None:
        """Reverses the deposit with the provider's key, or the recalled part; ignores an unknown key. ABORTED."""
        deposit = self._deposits.get_any_tenant(tx, provider, key)
        if deposit is None:
            return
        # Staff may have assigned it to another payment than the one it was sent for.
        locked = self._payments.lock_all_any_tenant(tx, deposit.payment_id, deposit.sent_for_payment_id)
        before = locked[deposit.payment_id] if deposit.payment_id else None
        after = self._deposits.reverse(tx, provider, key, before, recall)
        if before and after:
            self._payments.save(tx, before, after)
        self._update_sent_for_in(tx, deposit, locked)

    def assign(self, deposit_id: UUID, payment_id: UUID) -> Deposit:
        """Credits an unmatched deposit to a payment of any organization. A repeat changes nothing.

        PAYMENT_NOT_FOUND, DEPOSIT_NOT_FOUND, DEPOSIT_ASSIGNED, CURRENCY_MISMATCH, DEPOSIT_NOT_ASSIGNABLE.
        """
        with self._db.transaction() as tx:
            unmatched = self._deposits.get_by_id_any_tenant(tx, deposit_id)
            locked = self._payments.lock_all_any_tenant(
                tx, payment_id, unmatched.sent_for_payment_id if unmatched else None
            )
            before = locked[payment_id]
            is_refundable = before.provider in self._transfer_providers
            deposit, after = self._deposits.assign(tx, deposit_id, before, is_refundable=is_refundable)
            self._payments.save(tx, before, after)
            self._update_sent_for_in(tx, deposit, locked)
            return deposit

    def _update_sent_for_in(self, tx: Transaction, deposit: Deposit, locked: Mapping[UUID, Payment]) -> None:
        """Updates the pending reason of the payment that the deposit was sent for, if it is credited elsewhere."""
        before = locked.get(deposit.sent_for_payment_id) if deposit.sent_for_payment_id else None
        if before and deposit.sent_for_payment_id != deposit.payment_id:
            reason = self._deposits.unmatched_reason(tx, before)
            self._payments.save(tx, before, before.waiting(reason, self._clock.now()))


def _unconfirmed_reason(payment: Payment, report: Report) -> str:
    """The pending reason for funds in another currency that are not final; empty if there are none."""
    for funds in report.incoming:
        if funds.currency_code != payment.currency_code and not funds.is_final:
            what = funds.asset or funds.currency_code
            return f"{what} was sent, which is not counted in {payment.currency_code}, and waits for its confirmations"
    return ""
