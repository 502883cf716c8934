"""Reports over the warehouse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from analytics_service.clients.campaign import Campaigns
from analytics_service.epoch import epoch_micros
from analytics_service.reports.model import TimeRange
from analytics_service.warehouse.model import Metrics, MetricsQuery, Warehouse


@dataclass(frozen=True, slots=True)
class CampaignReport:
    """A campaign's totals, and a series of each interval's start and metrics."""

    currency_code: str
    totals: Metrics
    series: Sequence[tuple[datetime, Metrics]]


class ReportService:
    """Reads metrics for advertisers."""

    def __init__(self, warehouse: Warehouse, campaigns: Campaigns) -> None:
        self._warehouse = warehouse
        self._campaigns = campaigns

    def campaign(self, organization_id: UUID, filters: Mapping[str, str], time_range: TimeRange) -> CampaignReport:
        """The report of the organization's campaign in `filters["campaign_id"]`; CAMPAIGN_NOT_FOUND."""
        currency_code = self._campaigns.currency_code(organization_id, UUID(filters["campaign_id"]))
        boundaries = time_range.boundaries()
        micros = [epoch_micros(boundary) for boundary in boundaries]
        result = self._warehouse.metrics(MetricsQuery(str(organization_id), filters, currency_code, micros))
        series = [
            (start, result.by_interval.get(start_micros, Metrics()))
            for start, start_micros in zip(boundaries[:-1], micros[:-1], strict=True)
        ]
        return CampaignReport(currency_code, result.total, series)
