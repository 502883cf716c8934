"""PayoutService of the contract."""

from uuid import UUID

from adplatform.publisher.v1 import publisher_pb2 as pb

from adlib.rpc import Call
from publisher_service.payouts.messages import bank_account, payout_pb
from publisher_service.payouts.model import NewPayout
from publisher_service.payouts.service import PayoutService


class PayoutServicer:
    """PayoutService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["PayoutService"]

    def __init__(self, payouts: PayoutService) -> None:
        self._payouts = payouts

    def RequestPayout(self, request: pb.RequestPayoutRequest, call: Call) -> pb.Payout:
        new = NewPayout(
            publisher_id=UUID(request.publisher_id),
            amount_micros=request.amount_micros,
            currency_code=request.currency_code,
            destination=bank_account(request.destination),
        )
        return self._payouts.request(call.caller, new, call.idempotency(request, payout_pb, pb.Payout))

    def GetPayout(self, request: pb.GetPayoutRequest, call: Call) -> pb.Payout:
        return payout_pb(self._payouts.get(call.caller, UUID(request.payout_id)))

    def ApprovePayout(self, request: pb.ApprovePayoutRequest, call: Call) -> pb.Payout:
        return payout_pb(self._payouts.approve(call.caller, UUID(request.payout_id)))

    def RejectPayout(self, request: pb.RejectPayoutRequest, call: Call) -> pb.Payout:
        return payout_pb(self._payouts.reject(call.caller, UUID(request.payout_id), request.reason))
