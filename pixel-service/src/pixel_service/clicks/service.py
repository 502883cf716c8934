"""Clicks on ads."""

from uuid import UUID

from adplatform.events.v1.events_pb2 import CollectedRequest

from adlib.ids import NewId
from pixel_service.click_ids import Click, ClickIds
from pixel_service.clicks.model import landing_url
from pixel_service.collector.store import GroupCommit
from pixel_service.database_threads import DatabaseThreads
from pixel_service.pixel_lookup.service import PixelLookup
from pixel_service.pixels.model import Pixel, PixelNotFound, parse_pixel_id
from pixel_service.query_parameters import zone_id

_MAX_ID_IN_ERROR = 64


class ClickService:
    """Records clicks and issues their ids."""

    def __init__(
        self, pixels: PixelLookup, threads: DatabaseThreads, log: GroupCommit, click_ids: ClickIds, new_id: NewId
    ) -> None:
        self._pixels = pixels
        self._threads = threads
        self._log = log
        self._click_ids = click_ids
        self._new_id = new_id

    async def record(self, pixel_id: str, request: CollectedRequest) -> str:
        """Stores the click and returns its landing page's URL; PIXEL_NOT_FOUND, UNAVAILABLE."""
        pixel = await self._pixel(pixel_id)
        click = Click(self._new_id(), pixel.id, zone_id(request.query))
        request.id, request.click_id = str(click.event_id), self._click_ids.sign(click)
        await self._log.append(request.SerializeToString())
        return landing_url(pixel.target_url, request.click_id)

    async def _pixel(self, text: str) -> Pixel:
        pixel_id = parse_pixel_id(text)
        pixel = await self._find(pixel_id) if pixel_id else None
        if pixel is None:
            raise PixelNotFound(text[:_MAX_ID_IN_ERROR])
        return pixel

    async def _find(self, pixel_id: UUID) -> Pixel | None:
        """Uses a database thread only if the pixel is not cached."""
        if self._pixels.is_cached(pixel_id):
            return self._pixels.get(pixel_id)
        return await self._threads.run(lambda: self._pixels.get(pixel_id))
