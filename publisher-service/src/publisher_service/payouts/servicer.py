"""PayoutService of the contract."""

from uuid import UUID

from adplatform.payment.v1.payment_pb2 import BankAccount as BankAccountPb
from adplatform.publisher.v1 import publisher_pb2 as pb

from adlib.clock import timestamp
from adlib.rpc import Call
from publisher_service.clients.payment import to_pb
from publisher_service.payouts.model import BankAccount, NewPayout, Payout, shown
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
            destination=_account(request.destination),
        )
        return self._payouts.request(call.caller, new, call.idempotency(request, _payout, pb.Payout))

    def GetPayout(self, request: pb.GetPayoutRequest, call: Call) -> pb.Payout:
        return _payout(self._payouts.get(call.caller, UUID(request.payout_id)))

    def ApprovePayout(self, request: pb.ApprovePayoutRequest, call: Call) -> pb.Payout:
        return _payout(self._payouts.approve(call.caller, UUID(request.payout_id)))

    def RejectPayout(self, request: pb.RejectPayoutRequest, call: Call) -> pb.Payout:
        return _payout(self._payouts.reject(call.caller, UUID(request.payout_id), request.reason))


def _account(account: BankAccountPb) -> BankAccount:
    if account.HasField("iban"):
        return BankAccount(account.account_holder_name, iban=account.iban)
    return BankAccount(
        account.account_holder_name,
        routing_number=account.united_states.routing_number,
        account_number=account.united_states.account_number,
    )


def _payout(payout: Payout) -> pb.Payout:
    return pb.Payout(
        id=str(payout.id),
        publisher_id=str(payout.publisher_id),
        state=pb.Payout.State.Value(shown(payout.state)),
        amount_micros=payout.amount_micros,
        currency_code=payout.currency_code,
        destination=to_pb(payout.destination),
        requested_by_user_id=str(payout.requested_by),
        decided_by_user_id=str(payout.decided_by or ""),
        reason=payout.reason,
        create_time=timestamp(payout.created_at),
        update_time=timestamp(payout.updated_at),
    )
