"""CampaignDirectoryService of the contract."""

from uuid import UUID

from adplatform.campaign.v1 import campaign_pb2 as pb

from adlib.rpc import Call
from campaign_service.campaigns.service import CampaignService


class CampaignDirectoryServicer:
    """CampaignDirectoryService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["CampaignDirectoryService"]

    def __init__(self, campaigns: CampaignService) -> None:
        self._campaigns = campaigns

    def LookUpCampaign(self, request: pb.LookUpCampaignRequest, _call: Call) -> pb.LookUpCampaignResponse:
        campaign = self._campaigns.get(UUID(request.organization_id), UUID(request.campaign_id))
        return pb.LookUpCampaignResponse(
            target_url=campaign.target_url, currency_code=campaign.currency_code, name=campaign.name
        )
