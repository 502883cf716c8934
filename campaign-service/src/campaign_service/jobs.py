"""The jobs of all features, as RPCs."""

from adplatform.campaign.v1 import campaign_pb2 as pb
from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib.purge import PurgeExpired
from adlib.rpc import Call
from campaign_service.holds.jobs import SweepHolds
from campaign_service.sync.jobs import SyncStats


class CampaignJobsServicer:
    """CampaignJobsService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["CampaignJobsService"]

    def __init__(self, sync: SyncStats, sweep: SweepHolds, purge: PurgeExpired) -> None:
        self._sync = sync
        self._sweep = sweep
        self._purge = purge

    def SyncStats(self, _request: pb.SyncStatsRequest, _call: Call) -> JobResult:
        return self._sync.run()

    def SweepHolds(self, _request: pb.SweepHoldsRequest, _call: Call) -> JobResult:
        return self._sweep.run()

    def PurgeExpired(self, _request: pb.PurgeExpiredRequest, _call: Call) -> JobResult:
        return self._purge.run()
