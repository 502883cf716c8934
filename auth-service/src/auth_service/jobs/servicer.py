"""AuthJobsService of the contract."""

from adplatform.auth.v1 import jobs_pb2 as pb
from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib.rpc import Call
from auth_service.jobs.service import Purge


class AuthJobsServicer:
    """Parses, calls, renders."""

    def __init__(self, purge: Purge) -> None:
        self._purge = purge

    def PurgeExpired(self, _request: pb.PurgeExpiredRequest, _call: Call) -> JobResult:
        return self._purge.run()
