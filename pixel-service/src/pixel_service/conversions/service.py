"""Records conversions, each once."""

from collections.abc import Callable
from uuid import UUID

from adplatform.events.v1.events_pb2 import TrackingEvent

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import InvalidField
from adlib.ids import NewId
from adlib.outbox import Outbox
from pixel_service.conversions import store
from pixel_service.conversions.model import NewConversion, Recorded
from pixel_service.pixels.model import Pixel, PixelNotFound
from pixel_service.signing.click_ids import Click, ClickIds


class ConversionService:
    """The use cases of conversions."""

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        pixel: Callable[[UUID], Pixel | None],
        clicks: ClickIds,
        clock: Clock,
        ids: NewId,
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._pixel = pixel
        self._clicks = clicks
        self._clock = clock
        self._ids = ids

    def pixel(self, pixel_id: UUID) -> Pixel:
        """The pixel; PIXEL_NOT_FOUND."""
        pixel = self._pixel(pixel_id)
        if pixel is None:
            raise PixelNotFound(pixel_id)
        return pixel

    def click(self, text: str, field: str) -> Click:
        """The click with that id; INVALID_FIELD naming `field`."""
        return self._clicks.read(text, self._clock.now(), field)

    def click_of(self, pixel: Pixel, text: str, field: str) -> Click | None:
        """The same, of a click for the pixel's own campaign; None where there is no id."""
        if not text:
            return None
        click = self.click(text, field)
        clicked = pixel if click.pixel_id == pixel.id else self._pixel(click.pixel_id)
        if clicked is None or clicked.campaign_id != pixel.campaign_id:
            raise InvalidField(field, "is of another campaign's click")
        return click

    def record(self, new: NewConversion) -> Recorded:
        """Counts the conversion, unless it was counted before."""
        event_id, now = self._ids(), self._clock.now()
        event = self._event(event_id, new)
        event.time.FromDatetime(now)
        with self._db.transaction() as tx:
            if not store.add(tx, event_id, new, now):
                return Recorded(store.event_of(tx, new), duplicate=True)
            self._outbox.append_message(tx, event)
        return Recorded(event_id, duplicate=False)

    def _event(self, event_id: UUID, new: NewConversion) -> TrackingEvent:
        zone_id = new.click.zone_id if new.click else None
        return TrackingEvent(
            id=str(event_id),
            type=TrackingEvent.CONVERSION,
            organization_id=str(new.pixel.organization_id),
            campaign_id=str(new.pixel.campaign_id),
            pixel_id=str(new.pixel.id),
            zone_id=str(zone_id or ""),
            click_id=self._clicks.sign(new.click) if new.click else "",
            goal=new.goal,
            transaction_id=new.transaction_id,
            value_micros=new.value_micros,
            currency_code=new.pixel.currency_code,
            visitor_id=new.visitor_id,
            user_agent=new.user_agent,
            referrer=new.referrer,
        )
