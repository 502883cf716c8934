"""PaymentJobsService of the contract."""

from adplatform.jobs.v1.jobs_pb2 import JobResult
from adplatform.payment.v1 import payment_pb2 as pb

from adlib.purge import PurgeExpired
from adlib.rpc import Call
from payment_service.reconciliation.jobs import ReconciliationJob


class PaymentJobsServicer:
    """Serves PaymentJobsService."""

    contract = pb.DESCRIPTOR.services_by_name["PaymentJobsService"]

    def __init__(self, reconciliation: ReconciliationJob, purge: PurgeExpired) -> None:
        self._reconciliation = reconciliation
        self._purge = purge

    def SettlePayments(self, _request: pb.SettlePaymentsRequest, _call: Call) -> JobResult:
        return self._reconciliation.run()

    def PurgeExpired(self, _request: pb.PurgeExpiredRequest, _call: Call) -> JobResult:
        return self._purge.run()
