"""CampaignService of the contract."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from adplatform.campaign.v1 import campaign_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from adlib.clock import Clock, timestamp
from adlib.errors import InvalidField
from adlib.rpc import Call
from campaign_service.budgets.service import CampaignEditor
from campaign_service.campaigns.messages import figures_pb, to_pb
from campaign_service.campaigns.model import Campaign, State
from campaign_service.campaigns.service import CampaignService, NewCampaign
from campaign_service.lifecycle.service import CampaignLifecycle
from campaign_service.starts.service import CampaignStarter
from campaign_service.stats.model import Delivery
from campaign_service.stops.service import CampaignStopper


class CampaignServicer:
    """CampaignService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["CampaignService"]

    def __init__(
        self,
        campaigns: CampaignService,
        editor: CampaignEditor,
        starter: CampaignStarter,
        stopper: CampaignStopper,
        lifecycle: CampaignLifecycle,
        clock: Clock,
    ) -> None:
        self._campaigns = campaigns
        self._editor = editor
        self._starter = starter
        self._stopper = stopper
        self._lifecycle = lifecycle
        self._clock = clock

    def CreateCampaign(self, request: pb.CreateCampaignRequest, call: Call) -> pb.Campaign:
        new = NewCampaign(
            name=request.name,
            budget_micros=request.budget_micros,
            daily_budget_micros=request.daily_budget_micros if request.HasField("daily_budget_micros") else None,
            currency_code=request.currency_code,
            start_time=_time(request.start_time, "startTime") if request.HasField("start_time") else None,
            end_time=_time(request.end_time, "endTime") if request.HasField("end_time") else None,
            target_url=request.target_url,
            networks=tuple(pb.Network.Name(network) for network in request.networks),
            **_targeting(request.targeting),
            **_bid(request.bid),
        )
        idempotency = call.idempotency(request, self._to_pb, pb.Campaign)
        return self._campaigns.create(call.caller.organization_id, new, idempotency)

    def ListCampaigns(self, request: pb.ListCampaignsRequest, call: Call) -> pb.ListCampaignsResponse:
        state = State(pb.Campaign.State.Name(request.state)) if request.state else None
        page = call.page(request)
        found = self._campaigns.list_page(call.caller.organization_id, page, state, request.query.strip())
        return pb.ListCampaignsResponse(
            campaigns=[self._to_pb(campaign) for campaign in found.rows], next_page_token=found.next_page_token
        )

    def GetCampaign(self, request: pb.GetCampaignRequest, call: Call) -> pb.Campaign:
        return self._to_pb(self._campaigns.get(call.caller.organization_id, UUID(request.campaign_id)))

    def UpdateCampaign(self, request: pb.UpdateCampaignRequest, call: Call) -> pb.Campaign:
        campaign_id, fields = UUID(request.campaign_id), _sent_fields(request)
        return self._to_pb(self._editor.edit(call.caller.organization_id, campaign_id, fields, request.etag))

    def DeleteCampaign(self, request: pb.DeleteCampaignRequest, call: Call) -> pb.DeleteCampaignResponse:
        self._lifecycle.delete(call.caller.organization_id, UUID(request.campaign_id))
        return pb.DeleteCampaignResponse()

    def StartCampaign(self, request: pb.StartCampaignRequest, call: Call) -> pb.Campaign:
        return self._to_pb(self._starter.start(call.caller.organization_id, UUID(request.campaign_id)))

    def PauseCampaign(self, request: pb.PauseCampaignRequest, call: Call) -> pb.Campaign:
        return self._to_pb(self._stopper.pause(call.caller.organization_id, UUID(request.campaign_id)))

    def GetCampaignStats(self, request: pb.GetCampaignStatsRequest, call: Call) -> pb.CampaignStats:
        campaign, deliveries = self._campaigns.get_with_stats(call.caller.organization_id, UUID(request.campaign_id))
        return pb.CampaignStats(
            campaign_id=str(campaign.id),
            currency_code=campaign.currency_code,
            total=figures_pb(deliveries),
            networks=[_delivery_pb(one) for one in deliveries],
        )

    def _to_pb(self, campaign: Campaign) -> pb.Campaign:
        return to_pb(campaign, self._clock.now())


def _sent_fields(request: pb.UpdateCampaignRequest) -> dict[str, Any]:
    """The fields that the request has, by the model's names."""
    fields: dict[str, Any] = {
        name: getattr(request, name)
        for name in ("name", "budget_micros", "daily_budget_micros", "target_url")
        if request.HasField(name)
    }
    if request.HasField("start_time"):
        fields["start_time"] = _time(request.start_time, "startTime")
    if request.HasField("end_time"):
        fields["end_time"] = _time(request.end_time, "endTime")
    if request.HasField("targeting"):
        fields |= _targeting(request.targeting)
    if request.HasField("bid"):
        fields |= _bid(request.bid)
    return fields


def _targeting(message: pb.Targeting) -> dict[str, Any]:
    devices = tuple(pb.Targeting.Device.Name(device) for device in message.devices)
    return {"countries": tuple(message.countries), "devices": devices}


def _bid(message: pb.Bid) -> dict[str, Any]:
    return {"bid_model": pb.Bid.Model.Name(message.model), "price_micros": message.price_micros}


def _time(message: Timestamp, field: str) -> datetime:
    try:
        return message.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidField(field, "must be a time from year 1 to 9999") from None


def _delivery_pb(one: Delivery) -> pb.CampaignStats.NetworkStats:
    return pb.CampaignStats.NetworkStats(
        network=pb.Network.Value(one.network),
        figures=figures_pb([one]),
        sync_time=timestamp(one.synced_at) if one.synced_at else None,
    )
