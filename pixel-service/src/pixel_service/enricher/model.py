"""Parses collected requests into tracking events."""

from collections.abc import Callable
from datetime import UTC
from typing import NamedTuple
from uuid import UUID

from adplatform.events.v1.events_pb2 import CollectedRequest, TrackingEvent
from google.protobuf.message import DecodeError

from pixel_service.pixels.model import Pixel, parse_pixel_id
from pixel_service.query_parameters import all_values, zone_id
from pixel_service.tracking_urls import CLICK_PATH, PIXEL_PATH
from pixel_service.visitor_ids import VisitorIds


class Rejected(NamedTuple):
    """Why a request does not become an event."""

    reason: str


class EventParser:
    """Turns collected requests into tracking events."""

    def __init__(self, find_pixel: Callable[[UUID], Pixel | None], visitor_ids: VisitorIds) -> None:
        self._find_pixel = find_pixel
        self._visitor_ids = visitor_ids

    def parse(self, message: bytes) -> TrackingEvent | Rejected:
        """The request's event, with the request's id."""
        try:
            request = CollectedRequest.FromString(message)
        except DecodeError:
            return Rejected("request_malformed")
        type, text = _type_and_pixel(request)
        if type == TrackingEvent.IMPRESSION and (reason := _impression_fault(request)):
            return Rejected(reason)
        pixel_id = parse_pixel_id(text)
        if pixel_id is None:
            return Rejected("pixel_malformed")
        pixel = self._find_pixel(pixel_id)
        if pixel is None:
            return Rejected("pixel_unknown")
        return self._event(type, request, pixel)

    def _event(self, type: TrackingEvent.Type.ValueType, request: CollectedRequest, pixel: Pixel) -> TrackingEvent:
        at = request.time.ToDatetime(tzinfo=UTC)
        return TrackingEvent(
            id=request.id,
            time=request.time,
            type=type,
            organization_id=str(pixel.organization_id),
            campaign_id=str(pixel.campaign_id),
            pixel_id=str(pixel.id),
            zone_id=str(zone_id(request.query) or ""),
            click_id=request.click_id,
            # Events have this hash in place of the address.
            visitor_id=self._visitor_ids.of(at, request.remote_address, request.user_agent),
            user_agent=request.user_agent,
            referrer=request.referrer,
        )


def _type_and_pixel(request: CollectedRequest) -> tuple[TrackingEvent.Type.ValueType, str]:
    """The event's type and the text that should be a pixel's id."""
    if request.path.startswith(CLICK_PATH):
        return TrackingEvent.CLICK, request.path.removeprefix(CLICK_PATH)
    return TrackingEvent.IMPRESSION, request.path.removeprefix(PIXEL_PATH)


def _impression_fault(request: CollectedRequest) -> str | None:
    """The reason to reject the parameter `event`; None if it describes an impression."""
    events = all_values(request.query, "event")
    if len(events) > 1:
        return "event_repeated"
    return "event_unknown" if events and events[0] not in ("", "impression") else None
