"""RefundService of the contract."""

from uuid import UUID

from adplatform.payment.v1 import refunds_pb2 as pb

from adlib.rpc import Call
from payment_service.refund_requests.messages import to_pb as request_pb
from payment_service.refund_requests.service import RefundRequestService
from payment_service.refunds.messages import to_pb
from payment_service.refunds.service import NewRefund, RefundService


class RefundServicer:
    """Serves RefundService."""

    contract = pb.DESCRIPTOR.services_by_name["RefundService"]

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
        # The organization's money moves, so the entry is written to the organization's audit log.
        call.attribute_to(call.caller.user_id, refund.organization_id)
        return to_pb(refund)

    def ListRefunds(self, request: pb.ListRefundsRequest, call: Call) -> pb.ListRefundsResponse:
        organization_id, payment_id = call.caller.organization_id, UUID(request.payment_id)
        found = self._refunds.list_page(organization_id, payment_id, call.page(request))
        return pb.ListRefundsResponse(
            refunds=[to_pb(refund) for refund in found.rows],
            next_page_token=found.next_page_token,
            requests=[request_pb(one) for one in self._requests.of_payment(organization_id, payment_id)],
        )
