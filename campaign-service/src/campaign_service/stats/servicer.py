"""CampaignJobsService of the contract."""

from adplatform.campaign.v1 import campaign_pb2 as pb
from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib.purge import PurgeExpired
from adlib.rpc import Call
from campaign_service.holds.sweep import HoldsSweep
from campaign_service.stats.sync import StatsSync


class CampaignJobsServicer:
    """Parses, calls, renders."""

    def __init__(self, sync: StatsSync, sweep: HoldsSweep, purge: PurgeExpired) -> None:
        self._sync = sync
        self._purge = purge
        self._sweep = sweep

    def SyncStats(self, _request: pb.SyncStatsRequest, _call: Call) -> JobResult:
        return self._sync.run()

    def SweepHolds(self, _request: pb.SweepHoldsRequest, _call: Call) -> JobResult:
        return self._sweep.run()

    def PurgeExpired(self, _request: pb.PurgeExpiredRequest, _call: Call) -> JobResult:
        return self._purge.run()
