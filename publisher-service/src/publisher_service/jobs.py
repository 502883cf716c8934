"""The jobs of all features, as RPCs."""

from adplatform.jobs.v1.jobs_pb2 import JobResult
from adplatform.publisher.v1 import publisher_pb2 as pb

from adlib.purge import PurgeExpired
from adlib.rpc import Call
from publisher_service.balances.jobs import SyncBalances


class PublisherJobsServicer:
    """PublisherJobsService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["PublisherJobsService"]

    def __init__(self, sync: SyncBalances, purge: PurgeExpired) -> None:
        self._sync = sync
        self._purge = purge

    def SyncPublisherBalances(self, _request: pb.SyncPublisherBalancesRequest, _call: Call) -> JobResult:
        return self._sync.run()

    def PurgeExpired(self, _request: pb.PurgeExpiredRequest, _call: Call) -> JobResult:
        return self._purge.run()
