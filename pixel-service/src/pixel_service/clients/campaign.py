"""The part of campaign-service that pixel-service calls."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from adplatform.campaign.v1 import campaign_pb2 as pb
from adplatform.campaign.v1 import campaign_pb2_grpc
from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import NotFound
from adlib.rpc import Remote


class CampaignNotFound(NotFound):
    """The organization has no campaign with that id."""

    reason = ErrorReason.CAMPAIGN_NOT_FOUND

    def __init__(self, campaign_id: UUID) -> None:
        super().__init__("there is no such campaign", campaignId=campaign_id)


@dataclass(frozen=True, slots=True)
class Campaign:
    """The fields of a campaign that a pixel copies."""

    target_url: str
    currency_code: str


class Campaigns(Protocol):
    """The campaigns of every organization."""

    def look_up(self, organization_id: UUID, campaign_id: UUID) -> Campaign:
        """The organization's campaign; CAMPAIGN_NOT_FOUND."""
        ...


class RemoteCampaigns:
    """Calls campaign-service, which raises CAMPAIGN_NOT_FOUND itself."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._stub = campaign_pb2_grpc.CampaignDirectoryServiceStub(remote.channel)

    def look_up(self, organization_id: UUID, campaign_id: UUID) -> Campaign:
        """The organization's campaign; CAMPAIGN_NOT_FOUND, UNAVAILABLE."""
        request = pb.LookUpCampaignRequest(organization_id=str(organization_id), campaign_id=str(campaign_id))
        found = self._remote.call(self._stub.LookUpCampaign, request)
        return Campaign(found.target_url, found.currency_code)
