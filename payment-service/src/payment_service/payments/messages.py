"""Payments as protobuf messages."""

from adplatform.payment.v1 import payment_pb2 as pb

from adlib.clock import timestamp
from payment_service.payments.model import Payment


def to_pb(payment: Payment) -> pb.Payment:
    """The payment as lists and events show it, without instructions and deposits."""
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
