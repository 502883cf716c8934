"""Clicks over HTTP."""

from pixel_service.clicks.service import ClickService
from pixel_service.http_requests import HttpRequest
from pixel_service.http_responses import HttpResponse, redirect
from pixel_service.tracking_urls import CLICK_PATH


class ClickServicer:
    """Redirects clicks to their campaign's landing page."""

    def __init__(self, clicks: ClickService) -> None:
        self._clicks = clicks

    async def get(self, request: HttpRequest) -> HttpResponse:
        """GET /track/click/{id}: redirects once the click is stored; PIXEL_NOT_FOUND."""
        return redirect(await self._clicks.record(request.path.removeprefix(CLICK_PATH), request.collected()))
