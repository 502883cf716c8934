"""Fakes of the services that analytics-service calls."""

from uuid import UUID

from analytics_service.clients.campaign import CampaignNotFound


class FakeCampaigns:
    """Campaigns in memory."""

    def __init__(self) -> None:
        self._currency_codes: dict[tuple[UUID, UUID], str] = {}

    def add(self, organization_id: UUID, campaign_id: UUID, currency_code: str = "USD") -> None:
        """Adds a campaign to the organization."""
        self._currency_codes[organization_id, campaign_id] = currency_code

    def currency_code(self, organization_id: UUID, campaign_id: UUID) -> str:
        """The currency of the organization's campaign; CAMPAIGN_NOT_FOUND."""
        if (organization_id, campaign_id) not in self._currency_codes:
            raise CampaignNotFound(campaign_id)
        return self._currency_codes[organization_id, campaign_id]
