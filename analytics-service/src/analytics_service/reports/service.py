"""Reports over the warehouse."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from analytics_service.clients.campaign import Campaigns
from analytics_service.reports.model import Span
from analytics_service.warehouse.model import CampaignSpans, Sums, Warehouse

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class CampaignReport:
    """A campaign's totals and its series: when each point begins, and its sums."""

    currency_code: str
    totals: Sums
    series: Sequence[tuple[datetime, Sums]]


class ReportService:
    """The use cases of looking at figures."""

    def __init__(self, warehouse: Warehouse, campaigns: Campaigns) -> None:
        self._warehouse = warehouse
        self._campaigns = campaigns

    def campaign(self, organization_id: UUID, campaign_id: UUID, span: Span) -> CampaignReport:
        """What the organization's campaign did in the span; CAMPAIGN_NOT_FOUND."""
        currency_code = self._campaigns.currency_code(organization_id, campaign_id)
        edges = span.edges()
        micros = [(edge - _EPOCH) // _MICRO for edge in edges]
        found = self._warehouse.sums(CampaignSpans(str(organization_id), str(campaign_id), currency_code, micros))
        series = [(begins, found.spans.get(edge, Sums())) for begins, edge in zip(edges[:-1], micros[:-1], strict=True)]
        return CampaignReport(currency_code, found.total, series)
