"""PaymentJobsService of the contract."""

from adplatform.jobs.v1.jobs_pb2 import JobResult
from adplatform.payment.v1 import payment_pb2 as pb

from adlib.rpc import Call
from payment_service.jobs.service import SettlementService


class PaymentJobsServicer:
    """Parses, calls, renders."""

    def __init__(self, settlement: SettlementService) -> None:
        self._settlement = settlement

    def SettlePayments(self, _request: pb.SettlePaymentsRequest, _call: Call) -> JobResult:
        return self._settlement.settle()
