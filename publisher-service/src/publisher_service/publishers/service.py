"""The use cases of publishers, their sites and zones."""

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.events.v1.events_pb2 import PublisherApproved
from google.protobuf.message import Message

from adlib import money
from adlib.clock import Clock
from adlib.db import Database, Session
from adlib.idempotency import Idempotency
from adlib.ids import NewId
from adlib.outbox import Outbox
from adlib.paging import Page, Slice, cut
from adlib.rpc import Caller
from publisher_service.clients.payment import Balance, Balances
from publisher_service.publishers import store
from publisher_service.publishers.model import (
    NotAPublisherOrganization,
    Publisher,
    PublisherNotFound,
    Site,
    SiteNotFound,
    State,
    Zone,
    ZoneOwner,
)

M = TypeVar("M", bound=Message)


class PublisherService:
    """An organization manages its own publisher; staff read and approve every publisher."""

    def __init__(
        self, db: Database, outbox: Outbox, ledger: Balances, clock: Clock, ids: NewId, share_basis_points: int
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._ledger = ledger
        self._clock = clock
        self._ids = ids
        self._share_basis_points = share_basis_points

    def create(self, caller: Caller, name: str, email: str, idempotency: Idempotency[Publisher, M]) -> M:
        """Registers the caller's organization as a publisher; NOT_A_PUBLISHER_ORGANIZATION, PUBLISHER_EXISTS."""
        if caller.organization_kind != Organization.PUBLISHER:
            raise NotAPublisherOrganization
        now = self._clock.now()
        with self._db.transaction() as tx:
            if (seen := idempotency.replay(tx)) is not None:
                return seen
            publisher = Publisher(
                id=self._ids(),
                organization_id=caller.organization_id,
                name=name,
                email=email,
                state=State.PENDING,
                share_basis_points=self._share_basis_points,
                created_at=now,
                updated_at=now,
            )
            store.add(tx, publisher)
            return idempotency.record(tx, publisher)

    def list_page(self, caller: Caller, page: Page, state: State | None = None) -> Slice[Publisher]:
        """The publishers that the caller may see, newest first."""
        if caller.is_staff:
            rows = store.list_page_any_tenant(self._db, page, state)
        else:
            rows = store.list_page(self._db, caller.organization_id, page, state)
        return cut(rows, page, lambda publisher: publisher.id)

    def get(self, caller: Caller, publisher_id: UUID) -> Publisher:
        """The publisher; PUBLISHER_NOT_FOUND where the caller may not see it."""
        if caller.is_staff:
            found = store.find_any_tenant(self._db, publisher_id)
        else:
            found = store.find(self._db, caller.organization_id, publisher_id)
        if found is None:
            raise PublisherNotFound(publisher_id)
        return found

    def approve(self, caller: Caller, publisher_id: UUID) -> Publisher:
        """Approves the publisher, so that it earns; for staff. A repeat changes nothing. PUBLISHER_NOT_FOUND."""
        with self._db.transaction() as tx:
            publisher = store.lock_any_tenant(tx, publisher_id) if caller.is_staff else None
            if publisher is None:
                raise PublisherNotFound(publisher_id)
            approved = publisher.approved(self._clock.now())
            if approved is not publisher:
                store.set_state(tx, approved)
                self._outbox.append(tx, approved.organization_id, PublisherApproved(publisher_id=str(approved.id)))
            return approved

    def create_site(
        self, caller: Caller, publisher_id: UUID, name: str, url: str, idempotency: Idempotency[Site, M]
    ) -> M:
        """Adds a site to the caller's own publisher; PUBLISHER_NOT_FOUND."""
        with self._db.transaction() as tx:
            if (seen := idempotency.replay(tx)) is not None:
                return seen
            own = self._own(tx, caller, publisher_id)
            site = Site(self._ids(), own.organization_id, own.id, name, url, self._clock.now())
            store.add_site(tx, site)
            return idempotency.record(tx, site)

    def list_sites(self, caller: Caller, publisher_id: UUID, page: Page) -> Slice[Site]:
        """A publisher's sites, newest first; PUBLISHER_NOT_FOUND."""
        publisher = self.get(caller, publisher_id)
        if caller.is_staff:
            rows = store.list_sites_any_tenant(self._db, publisher.id, page)
        else:
            rows = store.list_sites(self._db, caller.organization_id, publisher.id, page)
        return cut(rows, page, lambda site: site.id)

    def create_zone(
        self,
        caller: Caller,
        publisher_id: UUID,
        site_id: UUID,
        name: str,
        size: tuple[int, int],
        idempotency: Idempotency[Zone, M],
    ) -> M:
        """Adds a zone to a site of the caller's own publisher; `size` is its width and height in CSS pixels.

        PUBLISHER_NOT_FOUND, SITE_NOT_FOUND.
        """
        with self._db.transaction() as tx:
            if (seen := idempotency.replay(tx)) is not None:
                return seen
            own = self._own(tx, caller, publisher_id)
            if not store.has_site(tx, own.organization_id, own.id, site_id):
                raise SiteNotFound(site_id)
            zone = Zone(self._ids(), own.organization_id, own.id, site_id, name, *size, self._clock.now())
            store.add_zone(tx, zone)
            return idempotency.record(tx, zone)

    def list_zones(self, caller: Caller, publisher_id: UUID, page: Page) -> Slice[Zone]:
        """A publisher's zones, newest first; PUBLISHER_NOT_FOUND."""
        publisher = self.get(caller, publisher_id)
        if caller.is_staff:
            rows = store.list_zones_any_tenant(self._db, publisher.id, page)
        else:
            rows = store.list_zones(self._db, caller.organization_id, publisher.id, page)
        return cut(rows, page, lambda zone: zone.id)

    def balances(self, caller: Caller, page: Page) -> tuple[Sequence[Balance], str]:
        """The balances of a page of publishers and the next page's token; zero USD where the ledger has no balance."""
        publishers = self.list_page(caller, page)
        if not publishers.rows:
            return [], ""
        found = self._ledger.balances([publisher.id for publisher in publishers.rows])
        rows = [
            balance
            for publisher in publishers.rows
            for balance in found.get(publisher.id) or [Balance(publisher.id, money.DEFAULT_CURRENCY)]
        ]
        return rows, publishers.next_page_token

    def zone_owners(self, zone_ids: Sequence[UUID]) -> Sequence[ZoneOwner]:
        """The owners of these zones; zones of publishers that are not approved are left out."""
        return store.zone_owners_any_tenant(self._db, zone_ids)

    @staticmethod
    def _own(db: Session, caller: Caller, publisher_id: UUID) -> Publisher:
        found = store.find(db, caller.organization_id, publisher_id)
        if found is None:
            raise PublisherNotFound(publisher_id)
        return found
