"""Use cases of conversions."""

from collections.abc import Callable
from uuid import UUID

from adplatform.events.v1.events_pb2 import TrackingEvent

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import InvalidField, TokenInvalid, TokenMissing
from adlib.ids import NewId
from adlib.outbox import Outbox
from pixel_service.click_ids import Click, ClickIds
from pixel_service.conversions import store
from pixel_service.conversions.model import (
    NewConversion,
    PageReport,
    Postback,
    Recorded,
    Visitor,
    require_currency,
    resolve_goal,
    units_to_micros,
    valid_transaction_id,
    valid_value_micros,
)
from pixel_service.pixels.model import Pixel, PixelNotFound
from pixel_service.postback_keys import PostbackKeys

_COUNTED_STATUSES = ("", "approved")


class ConversionService:
    """Records conversions, each once."""

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        find_pixel: Callable[[UUID], Pixel | None],
        click_ids: ClickIds,
        postback_keys: PostbackKeys,
        clock: Clock,
        new_id: NewId,
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._find_pixel = find_pixel
        self._click_ids = click_ids
        self._postback_keys = postback_keys
        self._clock = clock
        self._new_id = new_id

    def record_page_report(self, report: PageReport, visitor: Visitor) -> Recorded:
        """Records a page's report; INVALID_FIELD, PIXEL_NOT_FOUND."""
        pixel = self._pixel(report.pixel_id)
        require_currency(pixel, report.currency_code)
        new = NewConversion(
            pixel=pixel,
            click=self.click_for(pixel, report.click_id, "clickId"),
            goal=resolve_goal(pixel, report.goal),
            transaction_id=valid_transaction_id(report.transaction_id, "transactionId"),
            value_micros=valid_value_micros(report.value_micros, "valueMicros"),
            visitor=visitor,
        )
        return self.record(new)

    def record_postback(self, postback: Postback) -> Recorded:
        """Records a partner's report for its click's pixel; INVALID_FIELD, TOKEN_MISSING, TOKEN_INVALID."""
        if not postback.click_id:
            raise InvalidField("click_id", "is missing")
        click = self._click(postback.click_id, "click_id")
        if not postback.key:
            raise TokenMissing("the parameter key is missing; it is in the pixel's postback URL")
        if not self._postback_keys.is_valid(postback.key, click.pixel_id):
            raise TokenInvalid("the parameter key is not the one in the postback URL of the click's pixel")
        if postback.status.lower() not in _COUNTED_STATUSES:
            raise InvalidField("status", "must be approved, or left out; other conversions are not counted")
        pixel = self._pixel(click.pixel_id)
        new = NewConversion(
            pixel=pixel,
            click=click,
            goal=resolve_goal(pixel, postback.goal),
            transaction_id=valid_transaction_id(postback.transaction_id, "txid"),
            value_micros=units_to_micros(postback.payout, "payout"),
        )
        return self.record(new)

    def record(self, new: NewConversion) -> Recorded:
        """Stores the conversion and its event, unless it is a duplicate."""
        event_id, now = self._new_id(), self._clock.now()
        event = self._event(event_id, new)
        event.time.FromDatetime(now)
        with self._db.transaction() as tx:
            if not store.add(tx, event_id, new, now):
                return Recorded(store.first_event_id(tx, new), is_duplicate=True)
            self._outbox.append_message(tx, event)
        return Recorded(event_id, is_duplicate=False)

    def click_for(self, pixel: Pixel, click_id: str, field: str) -> Click | None:
        """The click, which must be of the pixel's campaign; None without an id. INVALID_FIELD naming `field`."""
        if not click_id:
            return None
        click = self._click(click_id, field)
        clicked = pixel if click.pixel_id == pixel.id else self._find_pixel(click.pixel_id)
        if clicked is None or clicked.campaign_id != pixel.campaign_id:
            raise InvalidField(field, "is of another campaign's click")
        return click

    def _click(self, click_id: str, field: str) -> Click:
        return self._click_ids.verify(click_id, self._clock.now(), field)

    def _pixel(self, pixel_id: UUID) -> Pixel:
        pixel = self._find_pixel(pixel_id)
        if pixel is None:
            raise PixelNotFound(pixel_id)
        return pixel

    def _event(self, event_id: UUID, new: NewConversion) -> TrackingEvent:
        zone_id = new.click.zone_id if new.click else None
        return TrackingEvent(
            id=str(event_id),
            type=TrackingEvent.CONVERSION,
            organization_id=str(new.pixel.organization_id),
            campaign_id=str(new.pixel.campaign_id),
            pixel_id=str(new.pixel.id),
            zone_id=str(zone_id or ""),
            click_id=self._click_ids.sign(new.click) if new.click else "",
            goal=new.goal,
            transaction_id=new.transaction_id,
            value_micros=new.value_micros,
            currency_code=new.pixel.currency_code,
            visitor_id=new.visitor.id,
            user_agent=new.visitor.user_agent,
            referrer=new.visitor.referrer,
        )
