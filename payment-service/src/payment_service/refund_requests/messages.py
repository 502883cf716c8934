"""Refund requests as protobuf messages."""

from adplatform.payment.v1 import refund_requests_pb2 as pb

from adlib.clock import timestamp
from payment_service.refund_requests.model import RefundRequest


def to_pb(request: RefundRequest) -> pb.RefundRequest:
    """The request as customers and staff see it."""
    return pb.RefundRequest(
        id=str(request.id),
        payment_id=str(request.payment_id),
        organization_id=str(request.organization_id),
        state=pb.RefundRequest.State.Value(request.state.value),
        amount_micros=request.amount_micros,
        currency_code=request.currency_code,
        reason=request.reason,
        refund_id=str(request.refund_id or ""),
        decline_reason=request.decline_reason,
        create_time=timestamp(request.created_at),
        update_time=timestamp(request.updated_at),
    )
