"""PixelService of the contract."""

from uuid import UUID

from adplatform.pixel.v1 import pixel_pb2 as pb

from adlib.rpc import Call
from pixel_service.pixels.messages import PixelMessages
from pixel_service.pixels.service import PixelService


class PixelServicer:
    """PixelService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["PixelService"]

    def __init__(self, pixels: PixelService, messages: PixelMessages) -> None:
        self._pixels = pixels
        self._to_pb = messages.to_pb

    def CreatePixel(self, request: pb.CreatePixelRequest, call: Call) -> pb.Pixel:
        idempotency = call.idempotency(request, self._to_pb, pb.Pixel)
        organization_id = call.caller.organization_id
        return self._pixels.create(organization_id, UUID(request.campaign_id), request.name, request.goals, idempotency)

    def ListPixels(self, request: pb.ListPixelsRequest, call: Call) -> pb.ListPixelsResponse:
        campaign_id = UUID(request.campaign_id) if request.campaign_id else None
        page = self._pixels.list(call.caller.organization_id, campaign_id, call.page(request))
        return pb.ListPixelsResponse(
            pixels=[self._to_pb(pixel) for pixel in page.rows], next_page_token=page.next_page_token
        )

    def GetPixel(self, request: pb.GetPixelRequest, call: Call) -> pb.Pixel:
        return self._to_pb(self._pixels.get(call.caller.organization_id, UUID(request.pixel_id)))

    def DeletePixel(self, request: pb.DeletePixelRequest, call: Call) -> pb.DeletePixelResponse:
        self._pixels.delete(call.caller.organization_id, UUID(request.pixel_id))
        return pb.DeletePixelResponse()
