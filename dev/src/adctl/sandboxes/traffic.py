"""Traffic of a campaign: impressions, clicks and conversions, tracked by the platform and booked at TrafficEngine."""

import asyncio
import base64
import hashlib
import hmac
from uuid import UUID, uuid4

from adctl.sandboxes.client import SandboxError, call
from adctl.sandboxes.database import find_row
from adctl.state import State
from adsandbox.traffic_engine.sandbox import WORKING
from adsandbox.traffic_engine.visitors import Tracked, TrafficReport, visit


def send_traffic(
    state: State,
    campaign_id: UUID | str,
    *,
    impressions: int,
    clicks: int,
    conversions: int,
    zone_id: UUID | str | None = None,
    repeat_conversions: int = 0,
) -> TrafficReport:
    """Send traffic as browsers and a partner's server do, and book the accepted part at TrafficEngine.

    `repeat_conversions` of the conversions are sent a second time with the same transaction id.
    SandboxError: the campaign is unknown or not playing, has no pixel, or there are conversions without clicks.
    """
    if conversions and not clicks:
        raise SandboxError("a conversion belongs to a click; ask for --clicks 1 or more")
    network_id, pixel_id = _find_campaign(state, UUID(str(campaign_id)))
    found = call(state, "traffic-engine", "GET", f"/sandbox/campaigns/{network_id}")
    if found["result"]["status"] != WORKING:
        raise SandboxError(
            f"campaign {campaign_id} is not playing at TrafficEngine; POST /campaigns/{campaign_id}/start starts it"
        )
    zone = str(zone_id) if zone_id else None
    report = asyncio.run(
        visit(
            Tracked(state.gateway_url, str(pixel_id), postback_key(state, pixel_id), zone),
            impressions=impressions,
            clicks=clicks,
            conversions=conversions,
            repeat_conversions=repeat_conversions,
        )
    )
    booking = {
        "request_id": str(uuid4()),
        "campaign_id": network_id,
        "zone_id": zone,
        "impressions": report.impressions.accepted,
        "clicks": report.clicks.accepted,
        "conversions": report.conversions.accepted,
    }
    try:
        call(state, "traffic-engine", "POST", "/sandbox/traffic", booking)
    except SandboxError as error:
        report.booking_error = str(error)
    return report


def postback_key(state: State, pixel_id: UUID) -> str:
    """Return the key in the pixel's postback URL, derived as pixel-service derives it."""
    signed = hmac.new(state.secrets["clickSigningKey"].encode(), b"postback:" + pixel_id.bytes, hashlib.sha256)
    return base64.urlsafe_b64encode(signed.digest()).decode()[:32]


def _find_campaign(state: State, campaign_id: UUID) -> tuple[int, UUID]:
    """Return TrafficEngine's id of the campaign and the campaign's first pixel."""
    network = find_row(
        state.database_url("campaign-service"),
        "SELECT external_id FROM campaign_networks WHERE campaign_id = %s AND network = 'TRAFFIC_ENGINE'",
        campaign_id,
    )
    if network is None:
        raise SandboxError(f"there is no campaign {campaign_id} with TrafficEngine among its networks")
    if not network[0]:
        raise SandboxError(f"campaign {campaign_id} was never started; POST /campaigns/{campaign_id}/start starts it")
    pixel = find_row(
        state.database_url("pixel-service"),
        "SELECT id FROM pixels WHERE campaign_id = %s AND deleted_at IS NULL ORDER BY created_at LIMIT 1",
        campaign_id,
    )
    if pixel is None:
        raise SandboxError(
            f"campaign {campaign_id} has no pixel; create one: "
            f'POST /pixels {{"campaignId": "{campaign_id}", "name": "site"}}'
        )
    return int(network[0]), pixel[0]
