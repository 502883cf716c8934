"""campaign-service, as this service needs it."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from adplatform.campaign.v1 import campaign_pb2 as pb
from adplatform.campaign.v1 import campaign_pb2_grpc
from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import NotFound
from adlib.rpc import Remote


@dataclass(frozen=True, slots=True)
class CampaignFacts:
    """What tracking needs of a campaign."""

    target_url: str
    currency_code: str


class Campaigns(Protocol):
    """Knows the campaigns of every organization."""

    def look_up(self, organization_id: UUID, campaign_id: UUID) -> CampaignFacts:
        """The organization's campaign; CAMPAIGN_NOT_FOUND."""
        ...


class CampaignNotFound(NotFound):
    """The organization has no campaign with that id."""

    reason = ErrorReason.CAMPAIGN_NOT_FOUND

    def __init__(self, campaign_id: UUID) -> None:
        super().__init__("there is no such campaign", campaignId=campaign_id)


class FakeCampaigns:
    """Campaigns that a test has told it of."""

    def __init__(self) -> None:
        self._known: dict[tuple[UUID, UUID], CampaignFacts] = {}

    def add(self, organization_id: UUID, campaign_id: UUID, facts: CampaignFacts) -> None:
        """Makes the campaign known."""
        self._known[organization_id, campaign_id] = facts

    def look_up(self, organization_id: UUID, campaign_id: UUID) -> CampaignFacts:
        """The organization's campaign; CAMPAIGN_NOT_FOUND."""
        if (organization_id, campaign_id) not in self._known:
            raise CampaignNotFound(campaign_id)
        return self._known[organization_id, campaign_id]


class RemoteCampaigns:
    """Asks campaign-service, which refuses with CAMPAIGN_NOT_FOUND by itself."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._stub = campaign_pb2_grpc.CampaignDirectoryServiceStub(remote.channel)

    def look_up(self, organization_id: UUID, campaign_id: UUID) -> CampaignFacts:
        """The organization's campaign; CAMPAIGN_NOT_FOUND."""
        request = pb.LookUpCampaignRequest(organization_id=str(organization_id), campaign_id=str(campaign_id))
        found = self._remote.call(self._stub.LookUpCampaign, request)
        return CampaignFacts(found.target_url, found.currency_code)
