"""PixelJobsService of the contract."""

from adplatform.jobs.v1.jobs_pb2 import JobResult
from adplatform.pixel.v1 import jobs_pb2 as pb

from adlib.purge import PurgeExpired
from adlib.rpc import Call


class PixelJobsServicer:
    """PixelJobsService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["PixelJobsService"]

    def __init__(self, purge: PurgeExpired) -> None:
        self._purge = purge

    def PurgeExpired(self, _request: pb.PurgeExpiredRequest, _call: Call) -> JobResult:
        return self._purge.run()
