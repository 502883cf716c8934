"""Publishers, sites and zones in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Table, Text, Uuid, any_, bindparam, insert, or_, select, update

from adlib.db import Query, Session, Transaction, UniqueViolated
from adlib.paging import Page
from publisher_service.publishers.model import Publisher, PublisherExists, Site, State, Zone, ZoneOwner
from publisher_service.tables import publishers, sites, zones


def _insert(table: Table) -> Query:
    return Query(insert(table).values({column.name: bindparam(column.name) for column in table.columns}))


_ids = bindparam("ids", type_=ARRAY(Uuid))
_wanted = bindparam("state", type_=Text)
_own = publishers.c.organization_id == bindparam("organization_id")

_BY_ID = select(publishers).where(publishers.c.id == bindparam("id"))
_PAGE = (
    select(publishers)
    .where(publishers.c.id < bindparam("before"), or_(_wanted == "", publishers.c.state == _wanted))
    .order_by(publishers.c.id.desc())
    .limit(bindparam("rows"))
)
_ADD = _insert(publishers)
_FIND = Query(_BY_ID.where(_own))
_FIND_ANY_TENANT = Query(_BY_ID)
_LOCK_ANY_TENANT = Query(_BY_ID.with_for_update())
_LIST = Query(_PAGE.where(_own))
_LIST_ANY_TENANT = Query(_PAGE)
_SET_STATE = Query(
    update(publishers)
    .where(publishers.c.id == bindparam("of_id"), publishers.c.organization_id == bindparam("of_organization"))
    .values(state=bindparam("new_state"), updated_at=bindparam("at"))
)

_SITE_PAGE = (
    select(sites)
    .where(sites.c.publisher_id == bindparam("publisher_id"), sites.c.id < bindparam("before"))
    .order_by(sites.c.id.desc())
    .limit(bindparam("rows"))
)
_ADD_SITE = _insert(sites)
_SITES = Query(_SITE_PAGE.where(sites.c.organization_id == bindparam("organization_id")))
_SITES_ANY_TENANT = Query(_SITE_PAGE)
_FIND_SITE = Query(
    select(sites.c.id).where(
        sites.c.organization_id == bindparam("organization_id"),
        sites.c.publisher_id == bindparam("publisher_id"),
        sites.c.id == bindparam("id"),
    )
)

_ZONE_PAGE = (
    select(zones)
    .where(zones.c.publisher_id == bindparam("publisher_id"), zones.c.id < bindparam("before"))
    .order_by(zones.c.id.desc())
    .limit(bindparam("rows"))
)
_ADD_ZONE = _insert(zones)
_ZONES = Query(_ZONE_PAGE.where(zones.c.organization_id == bindparam("organization_id")))
_ZONES_ANY_TENANT = Query(_ZONE_PAGE)
_ZONE_OWNERS_ANY_TENANT = Query(
    select(
        zones.c.id.label("zone_id"),
        zones.c.publisher_id,
        publishers.c.organization_id,
        publishers.c.share_basis_points,
    )
    .select_from(zones.join(publishers, publishers.c.id == zones.c.publisher_id))
    .where(zones.c.id == any_(_ids), publishers.c.state == State.APPROVED.value)
)


def add(tx: Transaction, publisher: Publisher) -> None:
    """Stores a new publisher; PUBLISHER_EXISTS."""
    try:
        with tx.savepoint():
            tx.execute(_ADD, **asdict(publisher))
    except UniqueViolated as error:
        raise PublisherExists from error


def find(db: Session, organization_id: UUID, publisher_id: UUID) -> Publisher | None:
    """The organization's publisher with this id."""
    return _publisher(db.one(_FIND, organization_id=organization_id, id=publisher_id))


def find_any_tenant(db: Session, publisher_id: UUID) -> Publisher | None:
    """The publisher with this id, of any organization."""
    return _publisher(db.one(_FIND_ANY_TENANT, id=publisher_id))


def lock_any_tenant(tx: Transaction, publisher_id: UUID) -> Publisher | None:
    """The publisher with this id, of any organization, with its row locked until the transaction ends."""
    return _publisher(tx.one(_LOCK_ANY_TENANT, id=publisher_id))


def list_page(db: Session, organization_id: UUID, page: Page, state: State | None = None) -> Sequence[Publisher]:
    """The organization's publishers, newest first."""
    found = db.all(_LIST, organization_id=organization_id, before=page.before, rows=page.limit, state=state or "")
    return [_to_publisher(row) for row in found]


def list_page_any_tenant(db: Session, page: Page, state: State | None = None) -> Sequence[Publisher]:
    """The publishers of every organization, newest first."""
    return [
        _to_publisher(row) for row in db.all(_LIST_ANY_TENANT, before=page.before, rows=page.limit, state=state or "")
    ]


def set_state(tx: Transaction, publisher: Publisher) -> None:
    """Stores a publisher's new state."""
    tx.execute(
        _SET_STATE,
        of_id=publisher.id,
        of_organization=publisher.organization_id,
        new_state=publisher.state,
        at=publisher.updated_at,
    )


def add_site(tx: Transaction, site: Site) -> None:
    """Stores a new site."""
    tx.execute(_ADD_SITE, **asdict(site))


def has_site(db: Session, organization_id: UUID, publisher_id: UUID, site_id: UUID) -> bool:
    """Whether the site is under that publisher of the organization."""
    return db.one(_FIND_SITE, organization_id=organization_id, publisher_id=publisher_id, id=site_id) is not None


def list_sites(db: Session, organization_id: UUID, publisher_id: UUID, page: Page) -> Sequence[Site]:
    """A publisher's sites, newest first."""
    found = db.all(
        _SITES, organization_id=organization_id, publisher_id=publisher_id, before=page.before, rows=page.limit
    )
    return [Site(**row._asdict()) for row in found]


def list_sites_any_tenant(db: Session, publisher_id: UUID, page: Page) -> Sequence[Site]:
    """The sites of a publisher of any organization, newest first."""
    return [
        Site(**row._asdict())
        for row in db.all(_SITES_ANY_TENANT, publisher_id=publisher_id, before=page.before, rows=page.limit)
    ]


def add_zone(tx: Transaction, zone: Zone) -> None:
    """Stores a new zone."""
    tx.execute(_ADD_ZONE, **asdict(zone))


def list_zones(db: Session, organization_id: UUID, publisher_id: UUID, page: Page) -> Sequence[Zone]:
    """A publisher's zones, newest first."""
    found = db.all(
        _ZONES, organization_id=organization_id, publisher_id=publisher_id, before=page.before, rows=page.limit
    )
    return [Zone(**row._asdict()) for row in found]


def list_zones_any_tenant(db: Session, publisher_id: UUID, page: Page) -> Sequence[Zone]:
    """The zones of a publisher of any organization, newest first."""
    return [
        Zone(**row._asdict())
        for row in db.all(_ZONES_ANY_TENANT, publisher_id=publisher_id, before=page.before, rows=page.limit)
    ]


def zone_owners_any_tenant(db: Session, zone_ids: Sequence[UUID]) -> Sequence[ZoneOwner]:
    """The owners of these zones; zones of publishers that are not approved are left out."""
    return [ZoneOwner(**row._asdict()) for row in db.all(_ZONE_OWNERS_ANY_TENANT, ids=list(zone_ids))]


def _to_publisher(row: Any) -> Publisher:
    return Publisher(**{**row._asdict(), "state": State(row.state)})


def _publisher(row: Any | None) -> Publisher | None:
    return None if row is None else _to_publisher(row)
