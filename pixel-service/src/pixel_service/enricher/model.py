"""From what was collected to a tracking event. Pure."""

from collections.abc import Callable
from datetime import UTC
from typing import NamedTuple
from uuid import UUID

from adplatform.events.v1.events_pb2 import CollectedRequest, TrackingEvent
from google.protobuf.message import DecodeError

from pixel_service.pixels.model import Pixel, pixel_id
from pixel_service.query import values_of, zone_id
from pixel_service.signing.visitors import Visitors

PIXEL_PATH = "/track/pixel/"
CLICK_PATH = "/track/click/"


class Rejected(NamedTuple):
    """What is no event, and why."""

    reason: str


class Reading:
    """Reads collected requests."""

    def __init__(self, pixel: Callable[[UUID], Pixel | None], visitors: Visitors) -> None:
        self._pixel = pixel
        self._visitors = visitors

    def read(self, message: bytes) -> TrackingEvent | Rejected:
        """The event that the request stands for."""
        try:
            request = CollectedRequest.FromString(message)
        except DecodeError:
            return Rejected("request_malformed")
        kind, text = _kind(request)
        if kind == TrackingEvent.IMPRESSION and (fault := _fault_of_event(request)):
            return Rejected(fault)
        known = pixel_id(text)
        if known is None:
            return Rejected("pixel_malformed")
        pixel = self._pixel(known)
        if pixel is None:
            return Rejected("pixel_unknown")
        return self._event(kind, request, pixel)

    def _event(self, kind: TrackingEvent.Type.ValueType, request: CollectedRequest, pixel: Pixel) -> TrackingEvent:
        at = request.time.ToDatetime(tzinfo=UTC)
        return TrackingEvent(
            id=request.id,
            time=request.time,
            type=kind,
            organization_id=str(pixel.organization_id),
            campaign_id=str(pixel.campaign_id),
            pixel_id=str(pixel.id),
            zone_id=str(zone_id(request.query) or ""),
            click_id=request.click_id,
            # The address itself goes no further than this.
            visitor_id=self._visitors.id(at, request.remote_address, request.user_agent),
            user_agent=request.user_agent,
            referrer=request.referrer,
        )


def _kind(request: CollectedRequest) -> tuple[TrackingEvent.Type.ValueType, str]:
    """What happened, and the text that names the pixel."""
    if request.path.startswith(CLICK_PATH):
        return TrackingEvent.CLICK, request.path.removeprefix(CLICK_PATH)
    return TrackingEvent.IMPRESSION, request.path.removeprefix(PIXEL_PATH)


def _fault_of_event(request: CollectedRequest) -> str | None:
    """Why a request for a pixel is no impression, where it says that it is something else."""
    events = values_of(request.query, "event")
    if len(events) > 1:
        return "event_repeated"
    return "event_unknown" if events and events[0] not in ("", "impression") else None
