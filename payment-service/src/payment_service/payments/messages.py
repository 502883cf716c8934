"""Payments as the contract has them."""

from adplatform.payment.v1 import payment_pb2 as pb

from payment_service.payments.model import Payment


def to_pb(payment: Payment) -> pb.Payment:
    """The payment as clients and events see it."""
    message = pb.Payment(
        id=str(payment.id),
        organization_id=str(payment.organization_id),
        state=pb.Payment.State.Value(payment.state.value),
        provider=pb.Provider.Value(payment.provider),
        amount_micros=payment.amount_micros,
        currency_code=payment.currency_code,
        failure_message=payment.failure_message,
    )
    message.create_time.FromDatetime(payment.created_at)
    message.update_time.FromDatetime(payment.updated_at)
    return message
