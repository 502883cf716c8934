"""PublisherJobsService of the contract."""

from adplatform.jobs.v1.jobs_pb2 import JobResult
from adplatform.publisher.v1 import publisher_pb2 as pb

from adlib.rpc import Call
from publisher_service.jobs.service import BalanceSync


class PublisherJobsServicer:
    """Parses, calls, renders."""

    def __init__(self, sync: BalanceSync) -> None:
        self._sync = sync

    def SyncPublisherBalances(self, _request: pb.SyncPublisherBalancesRequest, _call: Call) -> JobResult:
        return self._sync.run()
