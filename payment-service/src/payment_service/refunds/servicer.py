"""RefundService of the contract."""

from uuid import UUID

from adplatform.payment.v1 import refunds_pb2 as pb

from adlib.clock import timestamp
from adlib.rpc import Call
from payment_service.refund_requests.messages import to_pb as request_pb
from payment_service.refund_requests.service import RefundRequestService
from payment_service.refunds.model import Refund
from payment_service.refunds.service import NewRefund, RefundService


class RefundServicer:
    """Parses, calls, renders."""

    def __init__(self, refunds: RefundService, requests: RefundRequestService) -> None:
        self._refunds = refunds
        self._requests = requests

    def RefundPayment(self, request: pb.RefundPaymentRequest, call: Call) -> pb.Refund:
        new = NewRefund(
            payment_id=UUID(request.payment_id),
            amount_micros=request.amount_micros if request.HasField("amount_micros") else None,
            currency_code=request.currency_code,
            reason=request.reason,
            sent_as=request.sent_as,
        )
        refund = self._refunds.refund(call.caller, new, call.idempotency(request, to_pb, pb.Refund))
        # Their money goes back, so it stands in their audit log.
        call.attribute_to(call.caller.user_id, refund.organization_id)
        return to_pb(refund)

    def ListRefunds(self, request: pb.ListRefundsRequest, call: Call) -> pb.ListRefundsResponse:
        organization_id, payment_id = call.caller.organization_id, UUID(request.payment_id)
        found = self._refunds.list(organization_id, payment_id, call.page(request))
        return pb.ListRefundsResponse(
            refunds=[to_pb(refund) for refund in found.rows],
            next_page_token=found.next_page_token,
            requests=[request_pb(one) for one in self._requests.of_payment(organization_id, payment_id)],
        )


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
        returned_micros=refund.came_back_micros,
    )
