"""AuthJobsService of the contract."""

from adplatform.auth.v1 import jobs_pb2 as pb
from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib.purge import PurgeExpired
from adlib.rpc import Call


class AuthJobsServicer:
    """The jobs of auth-service."""

    def __init__(self, purge: PurgeExpired) -> None:
        self._purge = purge

    def PurgeExpired(self, _request: pb.PurgeExpiredRequest, _call: Call) -> JobResult:
        return self._purge.run()
