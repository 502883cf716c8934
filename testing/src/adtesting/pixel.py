"""Fakes of the services that pixel-service calls."""

from uuid import UUID

from pixel_service.clients.campaign import Campaign, CampaignNotFound


class FakeCampaigns:
    """Campaigns in memory."""

    def __init__(self) -> None:
        self._campaigns: dict[tuple[UUID, UUID], Campaign] = {}

    def add(self, organization_id: UUID, campaign_id: UUID, campaign: Campaign) -> None:
        """Adds a campaign to the organization."""
        self._campaigns[organization_id, campaign_id] = campaign

    def look_up(self, organization_id: UUID, campaign_id: UUID) -> Campaign:
        """The organization's campaign; CAMPAIGN_NOT_FOUND."""
        if (organization_id, campaign_id) not in self._campaigns:
            raise CampaignNotFound(campaign_id)
        return self._campaigns[organization_id, campaign_id]
