"""Reads what campaigns delivered."""

from collections.abc import Sequence
from uuid import UUID

from adlib.db import Database
from campaign_service.campaigns import store as campaigns
from campaign_service.campaigns.model import Campaign
from campaign_service.stats import store
from campaign_service.stats.model import Delivery


class StatsService:
    """The figures that the sync keeps."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def of(self, organization_id: UUID, campaign_id: UUID) -> tuple[Campaign, Sequence[Delivery]]:
        """The campaign and its figures at each of its networks; CAMPAIGN_NOT_FOUND."""
        campaign = campaigns.get(self._db, organization_id, campaign_id)
        found = {one.network: one for one in store.deliveries(self._db, organization_id, campaign_id)}
        return campaign, [found.get(network, Delivery(network)) for network in campaign.networks]
