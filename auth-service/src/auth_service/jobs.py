"""AuthJobsService over gRPC: the service's scheduled jobs."""

from adplatform.auth.v1 import jobs_pb2 as pb
from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib.purge import PurgeExpired
from adlib.rpc import Call


class AuthJobsServicer:
    """AuthJobsService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["AuthJobsService"]

    def __init__(self, purge: PurgeExpired) -> None:
        self._purge = purge

    def PurgeExpired(self, _request: pb.PurgeExpiredRequest, _call: Call) -> JobResult:
        return self._purge.run()
