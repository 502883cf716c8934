"""Pixels in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, insert, or_, select, update

from adlib.db import Query, Session, Transaction
from adlib.db.database import Row
from adlib.paging import Page
from pixel_service.pixels.model import Pixel
from pixel_service.tables import pixels

_COLUMNS = (
    pixels.c.id, pixels.c.organization_id, pixels.c.campaign_id, pixels.c.name, pixels.c.goals,
    pixels.c.target_url, pixels.c.currency_code, pixels.c.created_at,
)  # fmt: skip
_ADD = Query(insert(pixels).values({column.name: bindparam(column.name) for column in _COLUMNS}))
_LIVE = select(*_COLUMNS).where(pixels.c.deleted_at.is_(None))
_OWN = _LIVE.where(pixels.c.organization_id == bindparam("organization_id"))
_FIND = Query(_OWN.where(pixels.c.id == bindparam("pixel_id")))
_PAGE = _OWN.where(pixels.c.id < bindparam("before")).order_by(pixels.c.id.desc()).limit(bindparam("row_limit"))
_LIST = Query(_PAGE)
_LIST_OF_CAMPAIGN = Query(_PAGE.where(pixels.c.campaign_id == bindparam("campaign_id")))
_DELETE = Query(
    update(pixels)
    .where(
        pixels.c.organization_id == bindparam("of_organization"),
        pixels.c.id == bindparam("pixel_id"),
        pixels.c.deleted_at.is_(None),
    )
    .values(deleted_at=bindparam("at"))
)
_FIND_ANY_TENANT = Query(_LIVE.where(pixels.c.id == bindparam("pixel_id")))
_SET_TARGET_URL = Query(
    update(pixels)
    .where(
        pixels.c.organization_id == bindparam("of_organization"),
        pixels.c.campaign_id == bindparam("of_campaign"),
        or_(pixels.c.campaign_updated_at.is_(None), pixels.c.campaign_updated_at < bindparam("at")),
    )
    .values(target_url=bindparam("url"), campaign_updated_at=bindparam("at"))
)


def add(tx: Transaction, pixel: Pixel) -> None:
    """Stores a new pixel."""
    tx.execute(
        _ADD, id=pixel.id, organization_id=pixel.organization_id, campaign_id=pixel.campaign_id, name=pixel.name,
        goals=list(pixel.goals), target_url=pixel.target_url, currency_code=pixel.currency_code,
        created_at=pixel.created_at,
    )  # fmt: skip


def find(db: Session, organization_id: UUID, pixel_id: UUID) -> Pixel | None:
    """The organization's pixel with this id, unless it was deleted."""
    row = db.one(_FIND, organization_id=organization_id, pixel_id=pixel_id)
    return _pixel(row) if row else None


def find_any_tenant(db: Session, pixel_id: UUID) -> Pixel | None:
    """The pixel with this id: tracking URLs are public and name no organization."""
    row = db.one(_FIND_ANY_TENANT, pixel_id=pixel_id)
    return _pixel(row) if row else None


def newest(db: Session, organization_id: UUID, campaign_id: UUID | None, page: Page) -> Sequence[Pixel]:
    """The organization's pixels, or its campaign's, newest first."""
    common = {"organization_id": organization_id, "before": page.before, "row_limit": page.limit}
    if campaign_id is None:
        return [_pixel(row) for row in db.all(_LIST, **common)]
    return [_pixel(row) for row in db.all(_LIST_OF_CAMPAIGN, **common, campaign_id=campaign_id)]


def delete(tx: Transaction, organization_id: UUID, pixel_id: UUID, at: datetime) -> bool:
    """Marks the organization's pixel as deleted; returns whether it existed."""
    return tx.execute(_DELETE, of_organization=organization_id, pixel_id=pixel_id, at=at) == 1


def set_target_url(tx: Transaction, organization_id: UUID, campaign_id: UUID, target_url: str, at: datetime) -> None:
    """Sets the URL of the campaign's pixels as of `at`, unless they have a newer one."""
    tx.execute(_SET_TARGET_URL, of_organization=organization_id, of_campaign=campaign_id, url=target_url, at=at)


def _pixel(row: Row) -> Pixel:
    return Pixel(**row._asdict())
