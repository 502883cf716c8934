"""Converts campaigns to the contract's messages."""

from collections.abc import Iterable
from datetime import datetime

from adplatform.campaign.v1 import campaign_pb2 as pb
from adplatform.events.v1.events_pb2 import CampaignChanged

from adlib.clock import timestamp
from campaign_service.campaigns.model import Campaign
from campaign_service.stats.model import Delivery


def to_pb(campaign: Campaign, at: datetime) -> pb.Campaign:
    """The campaign's message; its state reasons depend on the time."""
    message = pb.Campaign(
        id=str(campaign.id),
        organization_id=str(campaign.organization_id),
        name=campaign.name,
        state=pb.Campaign.State.Value(campaign.state),
        state_reasons=[pb.Campaign.StateReason.Value(reason) for reason in campaign.reasons(at)],
        budget_micros=campaign.budget_micros,
        daily_budget_micros=campaign.daily_budget_micros,
        currency_code=campaign.currency_code,
        target_url=campaign.target_url,
        targeting=pb.Targeting(
            countries=campaign.countries,
            devices=[pb.Targeting.Device.Value(device) for device in campaign.devices],
        ),
        bid=pb.Bid(model=pb.Bid.Model.Value(campaign.bid_model), price_micros=campaign.price_micros),
        networks=[pb.Network.Value(network) for network in campaign.networks],
        etag=campaign.etag,
        create_time=timestamp(campaign.created_at),
        update_time=timestamp(campaign.updated_at),
    )
    if campaign.start_time:
        message.start_time.CopyFrom(timestamp(campaign.start_time))
    if campaign.end_time:
        message.end_time.CopyFrom(timestamp(campaign.end_time))
    if campaign.deleted_at:
        message.delete_time.CopyFrom(timestamp(campaign.deleted_at))
    return message


def figures_pb(deliveries: Iterable[Delivery]) -> pb.DeliveryFigures:
    """The sum of the figures of these networks."""
    total = pb.DeliveryFigures()
    for one in deliveries:
        total.impressions += one.impressions
        total.clicks += one.clicks
        total.conversions += one.conversions
        total.spent_micros += one.spent_micros
    return total


def changed_event(campaign: Campaign, deliveries: Iterable[Delivery], at: datetime) -> CampaignChanged:
    """The event for a changed campaign, with its figures."""
    return CampaignChanged(campaign=to_pb(campaign, at), figures=figures_pb(deliveries))
