"""Refunds as protobuf messages."""

from adplatform.payment.v1 import refunds_pb2 as pb

from adlib.clock import timestamp
from payment_service.refunds.model import Refund


def to_pb(refund: Refund) -> pb.Refund:
    """The refund as clients see it."""
    return pb.Refund(
        id=str(refund.id),
        payment_id=str(refund.payment_id),
        state=pb.Refund.State.Value(refund.state.value),
        amount_micros=refund.amount_micros,
        currency_code=refund.currency_code,
        reason=refund.reason,
        pending_reason=refund.pending_reason,
        failure_message=refund.failure_message,
        create_time=timestamp(refund.created_at),
        update_time=timestamp(refund.updated_at),
        returned_micros=refund.total_returned_micros,
    )
