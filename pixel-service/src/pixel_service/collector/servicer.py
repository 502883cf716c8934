"""Impressions over HTTP."""

from adlib.errors import Unavailable
from adlib.ids import NewId
from pixel_service.collector.store import GroupCommit
from pixel_service.http_requests import HttpRequest
from pixel_service.http_responses import GIF_OK, HttpResponse, gif_unavailable


class ImpressionServicer:
    """Stores requests for the tracking pixel unparsed; the enricher parses them later."""

    def __init__(self, log: GroupCommit, new_id: NewId) -> None:
        self._log = log
        self._new_id = new_id

    async def get(self, request: HttpRequest) -> HttpResponse:
        """GET /track/pixel/{id}: always a GIF, with status 503 if the request could not be stored."""
        collected = request.collected()
        collected.id = str(self._new_id())
        try:
            await self._log.append(collected.SerializeToString())
        except Unavailable as error:
            return gif_unavailable(error)
        return GIF_OK
