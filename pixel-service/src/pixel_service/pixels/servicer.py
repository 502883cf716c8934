"""PixelService of the contract."""

from uuid import UUID

from adplatform.pixel.v1 import pixel_pb2 as pb

from adlib.rpc import Call
from pixel_service.pixels.model import Pixel
from pixel_service.pixels.service import PixelService
from pixel_service.pixels.snippets import Links


class PixelServicer:
    """Parses, calls, renders."""

    def __init__(self, pixels: PixelService, links: Links) -> None:
        self._pixels = pixels
        self._links = links

    def CreatePixel(self, request: pb.CreatePixelRequest, call: Call) -> pb.Pixel:
        idempotency = call.idempotency(request, self._to_pb, pb.Pixel)
        organization_id = call.caller.organization_id
        return self._pixels.create(organization_id, UUID(request.campaign_id), request.name, request.goals, idempotency)

    def ListPixels(self, request: pb.ListPixelsRequest, call: Call) -> pb.ListPixelsResponse:
        campaign_id = UUID(request.campaign_id) if request.campaign_id else None
        asked = call.page(request)
        found = self._pixels.list(call.caller.organization_id, campaign_id, asked)
        return pb.ListPixelsResponse(
            pixels=[self._to_pb(pixel) for pixel in found.rows], next_page_token=found.next_page_token
        )

    def GetPixel(self, request: pb.GetPixelRequest, call: Call) -> pb.Pixel:
        return self._to_pb(self._pixels.get(call.caller.organization_id, UUID(request.pixel_id)))

    def DeletePixel(self, request: pb.DeletePixelRequest, call: Call) -> pb.DeletePixelResponse:
        self._pixels.delete(call.caller.organization_id, UUID(request.pixel_id))
        return pb.DeletePixelResponse()

    def _to_pb(self, pixel: Pixel) -> pb.Pixel:
        snippets = self._links.of(pixel)
        message = pb.Pixel(
            id=str(pixel.id),
            organization_id=str(pixel.organization_id),
            campaign_id=str(pixel.campaign_id),
            name=pixel.name,
            goals=pixel.goals,
            snippets=pb.Pixel.Snippets(
                impression=snippets.impression,
                click_url=snippets.click_url,
                conversion=snippets.conversion,
                postback_url=snippets.postback_url,
            ),
        )
        message.create_time.FromDatetime(pixel.created_at)
        return message
