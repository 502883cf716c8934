"""AnalyticsService of the contract."""

from adplatform.analytics.v1 import analytics_pb2 as pb

from adlib.clock import Clock, instant, timestamp
from adlib.rpc import Call
from analytics_service.reports.model import Granularity, TimeRange, ratios, time_zone
from analytics_service.reports.service import ReportService
from analytics_service.tables import DIMENSIONS
from analytics_service.warehouse.model import Metrics


class AnalyticsServicer:
    """Serves reports."""

    contract = pb.DESCRIPTOR.services_by_name["AnalyticsService"]

    def __init__(self, reports: ReportService, clock: Clock) -> None:
        self._reports = reports
        self._clock = clock

    def GetCampaignAnalytics(self, request: pb.GetCampaignAnalyticsRequest, call: Call) -> pb.CampaignAnalytics:
        granularity = Granularity[pb.Granularity.Name(request.granularity or pb.DAY)]
        start = instant(request.start_time, "startTime") if request.HasField("start_time") else None
        end = instant(request.end_time, "endTime") if request.HasField("end_time") else None
        time_range = TimeRange.requested(start, end, granularity, time_zone(request.time_zone), self._clock.now())
        report = self._reports.campaign(call.caller.organization_id, _filters(request), time_range)
        return pb.CampaignAnalytics(
            campaign_id=request.campaign_id,
            currency_code=report.currency_code,
            totals=_metrics_to_pb(report.totals),
            series=[
                pb.CampaignAnalytics.Point(start_time=timestamp(start), metrics=_metrics_to_pb(metrics))
                for start, metrics in report.series
            ],
        )


def _filters(request: pb.GetCampaignAnalyticsRequest) -> dict[str, str]:
    return {name: value for name in DIMENSIONS if (value := getattr(request, name))}


def _metrics_to_pb(metrics: Metrics) -> pb.Metrics:
    derived = ratios(
        impressions=metrics.impressions,
        clicks=metrics.clicks,
        conversions=metrics.conversions,
        spend_micros=metrics.spend_micros,
    )
    return pb.Metrics(
        impressions=metrics.impressions,
        clicks=metrics.clicks,
        conversions=metrics.conversions,
        unique_users=metrics.unique_users,
        spend_micros=metrics.spend_micros,
        revenue_micros=metrics.revenue_micros,
        ctr=derived.ctr,
        cvr=derived.cvr,
        cpm_micros=derived.cpm_micros,
        cpc_micros=derived.cpc_micros,
        cpa_micros=derived.cpa_micros,
    )
