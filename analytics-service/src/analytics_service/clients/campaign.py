"""The part of campaign-service that analytics-service calls."""

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
        super().__init__("there is no such campaign in your organization", campaignId=campaign_id)


class Campaigns(Protocol):
    """The campaigns of every organization."""

    def currency_code(self, organization_id: UUID, campaign_id: UUID) -> str:
        """The currency of the organization's campaign; CAMPAIGN_NOT_FOUND."""
        ...


class RemoteCampaigns:
    """Calls campaign-service, which raises CAMPAIGN_NOT_FOUND itself."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._stub = campaign_pb2_grpc.CampaignDirectoryServiceStub(remote.channel)

    def currency_code(self, organization_id: UUID, campaign_id: UUID) -> str:
        """The currency of the organization's campaign; CAMPAIGN_NOT_FOUND, UNAVAILABLE."""
        request = pb.LookUpCampaignRequest(organization_id=str(organization_id), campaign_id=str(campaign_id))
        return self._remote.call(self._stub.LookUpCampaign, request).currency_code
