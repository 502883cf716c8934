"""Use cases of pixels."""

from collections.abc import Sequence
from uuid import UUID

from adplatform.pixel.v1 import pixel_pb2 as pb

from adlib.clock import Clock
from adlib.db import Database
from adlib.idempotency import Idempotency
from adlib.ids import NewId
from adlib.paging import Page, Slice, cut
from pixel_service.clients.campaign import Campaigns
from pixel_service.pixels import store
from pixel_service.pixels.model import DEFAULT_GOAL, Pixel, PixelNotFound


class PixelService:
    """Manages organizations' pixels."""

    def __init__(self, db: Database, campaigns: Campaigns, clock: Clock, new_id: NewId) -> None:
        self._db = db
        self._campaigns = campaigns
        self._clock = clock
        self._new_id = new_id

    def create(
        self,
        organization_id: UUID,
        campaign_id: UUID,
        name: str,
        goals: Sequence[str],
        idempotency: Idempotency[Pixel, pb.Pixel],
    ) -> pb.Pixel:
        """Creates a pixel for the organization's campaign; CAMPAIGN_NOT_FOUND."""
        campaign = self._campaigns.look_up(organization_id, campaign_id)
        with self._db.transaction() as tx:
            if (first := idempotency.replay(tx)) is not None:
                return first
            pixel = Pixel(
                id=self._new_id(),
                organization_id=organization_id,
                campaign_id=campaign_id,
                name=name,
                goals=tuple(goals) or (DEFAULT_GOAL,),
                target_url=campaign.target_url,
                currency_code=campaign.currency_code,
                created_at=self._clock.now(),
            )
            store.add(tx, pixel)
            return idempotency.record(tx, pixel)

    def get(self, organization_id: UUID, pixel_id: UUID) -> Pixel:
        """The organization's pixel; PIXEL_NOT_FOUND."""
        pixel = store.find(self._db, organization_id, pixel_id)
        if pixel is None:
            raise PixelNotFound(pixel_id)
        return pixel

    def list(self, organization_id: UUID, campaign_id: UUID | None, page: Page) -> Slice[Pixel]:
        """The organization's pixels, newest first."""
        return cut(store.newest(self._db, organization_id, campaign_id, page), page, lambda pixel: pixel.id)

    def delete(self, organization_id: UUID, pixel_id: UUID) -> None:
        """Deletes the pixel; it stops counting within seconds and its events are retained. PIXEL_NOT_FOUND."""
        with self._db.transaction() as tx:
            if not store.delete(tx, organization_id, pixel_id, self._clock.now()):
                raise PixelNotFound(pixel_id)
