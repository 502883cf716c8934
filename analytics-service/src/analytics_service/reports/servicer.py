"""AnalyticsService of the contract."""

from uuid import UUID

from adplatform.analytics.v1 import analytics_pb2 as pb

from adlib.clock import Clock, instant, timestamp
from adlib.rpc import Call
from analytics_service.reports.model import Granularity, Span, ratios, time_zone
from analytics_service.reports.service import ReportService
from analytics_service.warehouse.model import Sums


class AnalyticsServicer:
    """Parses, calls, renders."""

    def __init__(self, reports: ReportService, clock: Clock) -> None:
        self._reports = reports
        self._clock = clock

    def GetCampaignAnalytics(self, request: pb.GetCampaignAnalyticsRequest, call: Call) -> pb.CampaignAnalytics:
        granularity = Granularity[pb.Granularity.Name(request.granularity or pb.DAY)]
        start = instant(request.start_time, "startTime") if request.HasField("start_time") else None
        end = instant(request.end_time, "endTime") if request.HasField("end_time") else None
        span = Span.of(start, end, granularity, time_zone(request.time_zone), self._clock.now())
        report = self._reports.campaign(call.caller.organization_id, UUID(request.campaign_id), span)
        return pb.CampaignAnalytics(
            campaign_id=request.campaign_id,
            currency_code=report.currency_code,
            totals=_metrics(report.totals),
            series=[
                pb.CampaignAnalytics.Point(start_time=timestamp(begins), metrics=_metrics(sums))
                for begins, sums in report.series
            ],
        )


def _metrics(sums: Sums) -> pb.Metrics:
    derived = ratios(
        impressions=sums.impressions, clicks=sums.clicks, conversions=sums.conversions, spend_micros=sums.spend_micros
    )
    return pb.Metrics(
        impressions=sums.impressions,
        clicks=sums.clicks,
        conversions=sums.conversions,
        unique_users=sums.unique_users,
        spend_micros=sums.spend_micros,
        revenue_micros=sums.revenue_micros,
        ctr=derived.ctr,
        cvr=derived.cvr,
        cpm_micros=derived.cpm_micros,
        cpc_micros=derived.cpc_micros,
        cpa_micros=derived.cpa_micros,
    )
