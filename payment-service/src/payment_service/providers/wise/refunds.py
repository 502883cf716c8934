"""Refunds that staff send by hand, by one of the profile's transfers."""

import re
from datetime import timedelta
from uuid import UUID

from typing_extensions import override

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import Unavailable
from adlib.money import to_decimal
from payment_service.payments.model import Payment
from payment_service.providers.model import (
    ManualRefund,
    RefundNotSeen,
    RefundOrder,
    RefundReport,
    SentRefund,
    TransferState,
)
from payment_service.providers.protocol import SendsRefunds, VerifiesManualRefunds
from payment_service.providers.wise import store
from payment_service.providers.wise.client import WiseClient
from payment_service.providers.wise.messages import Json, sent_micros

# Without leading zeros, so that a transfer has one id only.
_TRANSFER_ID = re.compile("[1-9][0-9]{0,17}")
_STATES = {TransferState.FAILED: "FAILED", TransferState.PAID: "SUCCEEDED"}


class _TransferClaimed(RefundNotSeen):
    def __init__(self, transfer_id: str) -> None:
        super().__init__(f"the transfer {transfer_id} belongs to another refund or to a payout")


class WiseRefunds(SendsRefunds, VerifiesManualRefunds):
    """Verifies and tracks transfers that staff created at Wise."""

    # A transfer may bounce weeks after it has arrived. Wise's events and its statement report that; polling finds the
    # bounces that both missed.
    refund_poll_period = timedelta(days=60)
    first_refund_poll_after = timedelta(hours=1)

    def __init__(self, client: WiseClient, db: Database, clock: Clock) -> None:
        self._client = client
        self._db = db
        self._clock = clock

    @property
    @override
    def manual(self) -> VerifiesManualRefunds:
        return self

    @override
    def refund(self, payment: Payment, order: RefundOrder) -> RefundReport:
        found = self._find(payment, order.amount_micros, order.sent_as)
        with self._db.transaction() as tx:
            self.claim(tx, order.refund_id, found)
        return RefundReport(order.sent_as, order.refund_id, payment.id, order.amount_micros, "SUCCEEDED")

    @override
    def find(self, payment: Payment, amount_micros: int, sent_as: str) -> ManualRefund:
        found = self._find(payment, amount_micros, sent_as)
        if store.is_claimed(self._db, sent_as):
            raise _TransferClaimed(sent_as)
        return found

    @override
    def claim(self, tx: Transaction, refund_id: UUID, manual: ManualRefund) -> None:
        if not store.claim_any_tenant(tx, manual.external_id, refund_id):
            raise _TransferClaimed(manual.external_id)

    @override
    def look_up_refund(self, sent: SentRefund) -> RefundReport:
        transfer = self._client.transfer(sent.external_id)
        if transfer is None:
            raise Unavailable(f"Wise does not return the transfer {sent.external_id}")
        status = self._client.transfer_status(transfer, self._clock.now(), sent.amount_micros)
        is_failed, returned_micros = status.state is TransferState.FAILED, status.returned_micros
        state = _STATES.get(status.state, "PENDING")
        return RefundReport(
            sent.external_id,
            sent.refund_id,
            sent.payment_id,
            sent.amount_micros,
            state,
            failure_message=status.reason if is_failed else "",
            returned_micros=returned_micros,
            pending_reason="" if state != "PENDING" else status.reason or _pending_reason(transfer),
            is_current=True,
            is_final=is_failed and (returned_micros is None or returned_micros >= sent.amount_micros),
        )

    def _find(self, payment: Payment, amount_micros: int, sent_as: str) -> ManualRefund:
        if not sent_as:
            raise RefundNotSeen("sentAs must be the number of the transfer at Wise by which it was sent back")
        transfer = self._client.transfer(sent_as) if _TRANSFER_ID.fullmatch(sent_as) else None
        if transfer is None or not _is_sent(transfer, payment.currency_code, amount_micros):
            raise RefundNotSeen(
                f"Wise has no transfer {sent_as} that has sent {to_decimal(amount_micros)} {payment.currency_code}"
            )
        return ManualRefund(sent_as, amount_micros)


def _is_sent(transfer: Json, currency_code: str, amount_micros: int) -> bool:
    """Whether the transfer sent exactly the amount: an excess would be in no account."""
    found = (transfer.get("status"), transfer.get("targetCurrency"), sent_micros(transfer))
    return found == ("outgoing_payment_sent", currency_code, amount_micros)


def _pending_reason(transfer: Json) -> str:
    if transfer.get("status") == "bounced_back":
        return "the recipient's bank sent it back; Wise delivers it again, or returns the money"
    return "the bank has it again, and has not delivered it"
