"""Payments and what has arrived for them as the contract has them."""

from collections.abc import Sequence

from adplatform.payment.v1 import payment_pb2 as pb
from google.protobuf.json_format import ParseDict

from adlib.clock import timestamp
from payment_service.deposits.model import Deposit
from payment_service.payments.model import Payment


def to_pb(payment: Payment) -> pb.Payment:
    """The payment as lists and events have it."""
    return pb.Payment(
        id=str(payment.id),
        organization_id=str(payment.organization_id),
        state=pb.Payment.State.Value(payment.state.value),
        provider=pb.Provider.Value(payment.provider),
        amount_micros=payment.amount_micros,
        currency_code=payment.currency_code,
        failure_message=payment.failure_message,
        create_time=timestamp(payment.created_at),
        update_time=timestamp(payment.updated_at),
        pending_reason=payment.pending_reason,
        paid_micros=payment.paid_micros,
        refunded_micros=payment.refunded_micros,
        disputed_micros=payment.disputed_micros,
        outcome=pb.Payment.Outcome.Value(payment.outcome.value or "OUTCOME_UNSPECIFIED"),
        expire_time=timestamp(payment.expires_at) if payment.expires_at else None,
    )


def with_details(payment: Payment, deposits: Sequence[Deposit]) -> pb.Payment:
    """The payment with how to pay it, while that can be done, and with what has arrived for it."""
    message = to_pb(payment)
    message.deposits.extend(deposit_pb(deposit) for deposit in deposits)
    if payment.is_open:
        instruct(payment, message)
    return message


def instruct(payment: Payment, message: pb.Payment | pb.CreatePaymentResponse) -> None:
    """Sets the message's instructions, which are named like their provider."""
    if payment.instructions:
        ParseDict({payment.provider.lower(): payment.instructions}, message)


def deposit_pb(deposit: Deposit) -> pb.Deposit:
    """What has arrived."""
    message = pb.Deposit(
        id=str(deposit.id),
        state=pb.Deposit.State.Value(deposit.state.value),
        provider=pb.Provider.Value(deposit.provider),
        payment_id=str(deposit.payment_id or ""),
        amount_micros=deposit.amount_micros,
        currency_code=deposit.currency_code,
        asset=deposit.asset,
        asset_amount="" if deposit.asset_amount is None else str(deposit.asset_amount),
        rate="" if deposit.rate is None else f"{deposit.rate:f}",
        create_time=timestamp(deposit.created_at),
        update_time=timestamp(deposit.updated_at),
        sent_for_payment_id=str(deposit.sent_for_payment_id or ""),
        recalled_micros=deposit.recalled_micros,
    )
    ParseDict(dict(deposit.detail), message)
    return message
