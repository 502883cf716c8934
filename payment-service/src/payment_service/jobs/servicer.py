"""PaymentJobsService of the contract."""

from adplatform.jobs.v1.jobs_pb2 import JobResult
from adplatform.payment.v1 import payment_pb2 as pb

from adlib.purge import PurgeExpired
from adlib.rpc import Call
from payment_service.jobs.service import ReconciliationJob


class PaymentJobsServicer:
    """Parses, calls, renders."""

    def __init__(self, settlement: ReconciliationJob, purge: PurgeExpired) -> None:
        self._settlement = settlement
        self._purge = purge

    def SettlePayments(self, _request: pb.SettlePaymentsRequest, _call: Call) -> JobResult:
        return self._settlement.settle()

    def PurgeExpired(self, _request: pb.PurgeExpiredRequest, _call: Call) -> JobResult:
        return self._purge.run()
