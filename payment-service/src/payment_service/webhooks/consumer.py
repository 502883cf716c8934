"""Applies providers' updates to payments, refunds, disputes and payouts."""

from typing import assert_never

from adlib.db import Transaction
from payment_service.bookings.service import PaymentBooking
from payment_service.disputes.service import DisputeService
from payment_service.payouts.service import PayoutService
from payment_service.providers.model import (
    DisputeReport,
    PaymentUpdate,
    PayoutReport,
    ProviderUpdate,
    RefundReport,
    ReversalReport,
    UnmatchedFunds,
)
from payment_service.refunds.service import RefundBooking


class UpdateConsumer:
    """Books each kind of update with its feature. Repeats and old updates change nothing."""

    def __init__(
        self, payments: PaymentBooking, refunds: RefundBooking, disputes: DisputeService, payouts: PayoutService
    ) -> None:
        self._payments = payments
        self._refunds = refunds
        self._disputes = disputes
        self._payouts = payouts

    def apply_in(self, tx: Transaction, provider: str, update: ProviderUpdate) -> bool:
        """Books the update in the caller's transaction; False if it is about an unknown object."""
        match update:
            case PaymentUpdate():
                return self._payments.settle_in(tx, update.payment_id, provider, update.report) is not None
            case RefundReport():
                return self._refunds.settle_in(tx, provider, update)
            case DisputeReport():
                return self._disputes.settle_in(tx, provider, update)
            case PayoutReport():
                return self._payouts.settle_in(tx, update.transfer_id, update.status)
            case UnmatchedFunds():
                self._payments.suspend_in(tx, provider, update.funds)
            case ReversalReport():
                self._payments.reverse_in(tx, provider, update.key, update.recall)
            case _:
                assert_never(update)
        return True
