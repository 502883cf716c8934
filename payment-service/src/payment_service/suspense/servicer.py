"""SuspenseService of the contract."""

from uuid import UUID

from adplatform.payment.v1 import payment_pb2, suspense_pb2

from adlib.rpc import NO_ORGANIZATION, Call
from payment_service.deposits.messages import to_pb
from payment_service.suspense.service import SuspenseService


class SuspenseServicer:
    """Serves SuspenseService."""

    contract = suspense_pb2.DESCRIPTOR.services_by_name["SuspenseService"]

    def __init__(self, suspense: SuspenseService) -> None:
        self._suspense = suspense

    def ListUnmatchedDeposits(
        self, request: suspense_pb2.ListUnmatchedDepositsRequest, call: Call
    ) -> suspense_pb2.ListUnmatchedDepositsResponse:
        found = self._suspense.list_page(call.caller, call.page(request))
        return suspense_pb2.ListUnmatchedDepositsResponse(
            deposits=[to_pb(deposit) for deposit in found.rows], next_page_token=found.next_page_token
        )

    def AssignDeposit(self, request: suspense_pb2.AssignDepositRequest, call: Call) -> payment_pb2.Deposit:
        deposit = self._suspense.assign(call.caller, UUID(request.deposit_id), UUID(request.payment_id))
        # The organization's money moved, so the entry is written to the organization's audit log.
        call.attribute_to(call.caller.user_id, deposit.organization_id or NO_ORGANIZATION)
        return to_pb(deposit)
