"""RefundRequestService of the contract."""

from uuid import UUID

from adplatform.payment.v1 import refund_requests_pb2 as pb

from adlib.rpc import Call
from payment_service.refund_requests.messages import to_pb
from payment_service.refund_requests.service import NewRefundRequest, RefundRequestService


class RefundRequestServicer:
    """Serves RefundRequestService, for customers and staff."""

    contract = pb.DESCRIPTOR.services_by_name["RefundRequestService"]

    def __init__(self, requests: RefundRequestService) -> None:
        self._requests = requests

    def RequestRefund(self, request: pb.RequestRefundRequest, call: Call) -> pb.RefundRequest:
        new = NewRefundRequest(
            payment_id=UUID(request.payment_id),
            amount_micros=request.amount_micros if request.HasField("amount_micros") else None,
            reason=request.reason,
        )
        return to_pb(self._requests.request(call.caller, new, call.idempotency(request, to_pb, pb.RefundRequest)))

    def WithdrawRefundRequest(self, request: pb.WithdrawRefundRequestRequest, call: Call) -> pb.RefundRequest:
        return to_pb(self._requests.withdraw(call.caller.organization_id, UUID(request.request_id)))

    def ListRefundRequests(self, request: pb.ListRefundRequestsRequest, call: Call) -> pb.ListRefundRequestsResponse:
        found = self._requests.list_open(call.caller, call.page(request))
        return pb.ListRefundRequestsResponse(
            requests=[to_pb(one) for one in found.rows], next_page_token=found.next_page_token
        )

    def DeclineRefundRequest(self, request: pb.DeclineRefundRequestRequest, call: Call) -> pb.RefundRequest:
        declined = self._requests.decline(call.caller, UUID(request.request_id), request.reason)
        # The request belongs to the organization, so the entry is written to the organization's audit log.
        call.attribute_to(call.caller.user_id, declined.organization_id)
        return to_pb(declined)
