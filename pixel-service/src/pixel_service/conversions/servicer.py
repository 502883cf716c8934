"""Conversions over HTTP."""

from collections.abc import Callable
from datetime import UTC, datetime

from pixel_service.conversions.messages import parse_page_report, parse_postback
from pixel_service.conversions.model import Recorded, Visitor
from pixel_service.conversions.service import ConversionService
from pixel_service.database_threads import DatabaseThreads
from pixel_service.http_requests import HttpRequest
from pixel_service.http_responses import HttpResponse, json_ok
from pixel_service.visitor_ids import VisitorIds


class ConversionServicer:
    """Records conversions that advertisers' pages and partners' servers report."""

    def __init__(self, conversions: ConversionService, visitor_ids: VisitorIds, threads: DatabaseThreads) -> None:
        self._conversions = conversions
        self._visitor_ids = visitor_ids
        self._threads = threads

    async def page(self, request: HttpRequest) -> HttpResponse:
        """POST /track/conversion."""
        body, visitor = await request.body(), self._visitor(request)
        return await self._record(
            lambda: self._conversions.record_page_report(parse_page_report(request.query, body), visitor)
        )

    async def postback(self, request: HttpRequest) -> HttpResponse:
        """GET or POST /track/s2s; a POST has its parameters in the query, the form or both."""
        query = request.query
        if request.method == "POST":
            query += "&" + await request.text()
        return await self._record(lambda: self._conversions.record_postback(parse_postback(query)))

    async def _record(self, record: Callable[[], Recorded]) -> HttpResponse:
        # Parsing runs on the thread too, because 64 KiB of JSON would block the event loop.
        recorded = await self._threads.run(record)
        return json_ok({"eventId": str(recorded.event_id), "duplicate": recorded.is_duplicate})

    def _visitor(self, request: HttpRequest) -> Visitor:
        visitor_id = self._visitor_ids.of(datetime.now(UTC), request.client_address, request.user_agent)
        return Visitor(visitor_id, request.user_agent, request.referrer)
