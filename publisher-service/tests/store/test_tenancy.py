"""Statements of one tenant do not reach another tenant's rows, and foreign keys keep tenants apart."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID, uuid4

import psycopg
import pytest

from adlib.db import Database
from adlib.errors import AppError
from adlib.ids import new_id
from adlib.paging import Page
from publisher_service.earnings import store as earnings
from publisher_service.earnings.model import Earning
from publisher_service.payouts import store as payouts
from publisher_service.payouts.model import BankAccount, NewPayout, Payout
from publisher_service.payouts.model import State as PayoutState
from publisher_service.publishers import store
from publisher_service.publishers.model import Publisher, PublisherExists, Site, State, Zone

AT = datetime(2025, 3, 1, tzinfo=UTC)


class Tenant(NamedTuple):
    publisher: Publisher
    site: Site
    zone: Zone
    payout: Payout


def publisher(organization_id: UUID) -> Publisher:
    return Publisher(new_id(), organization_id, "News", "ads@example.com", State.PENDING, 7000, AT, AT)


def tenant(db: Database) -> Tenant:
    owner = publisher(uuid4())
    site = Site(new_id(), owner.organization_id, owner.id, "Front", "https://news.example", AT)
    zone = Zone(new_id(), owner.organization_id, owner.id, site.id, "Top", 728, 90, AT)
    account = BankAccount("Ada Lovelace", routing_number="021000021", account_number="12345678")
    asked = NewPayout(owner.id, 5_000_000, "USD", account)
    payout = Payout.requested(new_id(), owner.organization_id, uuid4(), asked, AT)
    with db.transaction() as tx:
        store.add(tx, owner)
        store.add_site(tx, site)
        store.add_zone(tx, zone)
        payouts.add(tx, payout, "key")
    return Tenant(owner, site, zone, payout)


def test_rows_are_read_only_by_their_organization(db: Database) -> None:
    ours, theirs = tenant(db), tenant(db)
    own, other = ours.publisher.organization_id, theirs.publisher.organization_id
    id = ours.publisher.id
    assert store.find(db, own, id) == ours.publisher
    assert store.find(db, other, id) is None
    assert store.list_page(db, own, Page(50)) == [ours.publisher]
    assert store.list_sites(db, own, id, Page(50)) == [ours.site]
    assert store.list_sites(db, other, id, Page(50)) == []
    assert store.list_zones(db, own, id, Page(50)) == [ours.zone]
    assert store.list_zones(db, other, id, Page(50)) == []
    assert store.has_site(db, own, id, ours.site.id)
    assert not store.has_site(db, other, id, ours.site.id)
    assert not store.has_site(db, own, id, theirs.site.id)
    assert payouts.find(db, own, ours.payout.id) == ours.payout
    assert payouts.find(db, other, ours.payout.id) is None
    assert payouts.by_key(db, own, "key") == ours.payout


def test_any_tenant_statements_read_every_organization_newest_first(db: Database) -> None:
    first, second = tenant(db), tenant(db)
    assert store.list_page_any_tenant(db, Page(50)) == [second.publisher, first.publisher]
    assert store.list_page_any_tenant(db, Page(50), State.APPROVED) == []
    assert store.find_any_tenant(db, first.publisher.id) == first.publisher
    assert store.list_sites_any_tenant(db, first.publisher.id, Page(50)) == [first.site]
    assert store.list_zones_any_tenant(db, first.publisher.id, Page(50)) == [first.zone]
    assert payouts.find_any_tenant(db, first.payout.id) == first.payout


def test_updates_require_the_right_organization(db: Database) -> None:
    ours, other = tenant(db), uuid4()
    with db.transaction() as tx:
        store.set_state(tx, replace(ours.publisher.approved(AT), organization_id=other))
        payouts.update_state(tx, replace(ours.payout.advanced(AT), organization_id=other))
        payouts.remove(tx, replace(ours.payout, organization_id=other))
    assert store.find_any_tenant(db, ours.publisher.id) == ours.publisher
    assert payouts.find_any_tenant(db, ours.payout.id) == ours.payout


def test_organization_has_at_most_one_publisher(db: Database) -> None:
    ours = tenant(db)
    with pytest.raises(PublisherExists), db.transaction() as tx:
        store.add(tx, publisher(ours.publisher.organization_id))


def test_row_cannot_reference_another_tenants_publisher_or_site(db: Database) -> None:
    ours, theirs = tenant(db), tenant(db)
    mixed = replace(ours.site, id=new_id(), publisher_id=theirs.publisher.id)
    with pytest.raises(AppError) as refused, db.transaction() as tx:
        store.add_site(tx, mixed)
    assert isinstance(refused.value.__cause__, psycopg.errors.ForeignKeyViolation)
    foreign = replace(ours.zone, id=new_id(), site_id=theirs.site.id)
    with pytest.raises(AppError) as refused, db.transaction() as tx:
        store.add_zone(tx, foreign)
    assert isinstance(refused.value.__cause__, psycopg.errors.ForeignKeyViolation)


def test_only_zones_of_approved_publishers_have_an_owner(db: Database) -> None:
    ours, pending = tenant(db), tenant(db)
    with db.transaction() as tx:
        store.set_state(tx, ours.publisher.approved(AT))
    (owner,) = store.zone_owners_any_tenant(db, [ours.zone.id, pending.zone.id, uuid4()])
    assert (owner.zone_id, owner.organization_id) == (ours.zone.id, ours.publisher.organization_id)


def test_pending_payouts_have_a_due_call_to_payment_service(db: Database) -> None:
    ours = tenant(db)
    due = ours.payout.retry_at
    assert payouts.pending_any_tenant(db, AT, 10) == []
    assert payouts.pending_any_tenant(db, due, 10) == [ours.payout.id]
    decided = ours.payout.advanced(AT)
    for payout, expected in (
        (decided, []),
        (decided.rejected(uuid4(), "no", AT), [decided.id]),
        (decided.approved(uuid4(), AT), [decided.id]),
    ):
        with db.transaction() as tx:
            payouts.update_state(tx, payout)
        assert payouts.pending_any_tenant(db, due, 10) == expected


def test_only_unreserved_payout_can_be_removed(db: Database) -> None:
    ours = tenant(db)
    with db.transaction() as tx:
        payouts.update_state(tx, ours.payout.advanced(AT))
        payouts.remove(tx, ours.payout)
    stored = payouts.find_any_tenant(db, ours.payout.id)
    assert stored is not None
    assert stored.state is PayoutState.PENDING_APPROVAL
    with db.transaction() as tx:
        payouts.update_state(tx, ours.payout)
        payouts.remove(tx, ours.payout)
    assert payouts.find_any_tenant(db, ours.payout.id) is None


def test_earnings_add_up_by_currency_within_the_organization(db: Database) -> None:
    organization, publisher_id = uuid4(), uuid4()
    one = Earning(new_id(), organization, publisher_id, uuid4(), AT.date(), "USD", 700)
    with db.transaction() as tx:
        assert earnings.credit(tx, one, AT)
        assert earnings.credit(tx, replace(one, amount_micros=40), AT)
        assert earnings.credit(tx, replace(one, zone_id=uuid4(), amount_micros=5), AT)
        assert earnings.credit(tx, replace(one, currency_code="EUR", amount_micros=9), AT)
        assert not earnings.credit(tx, replace(one, organization_id=uuid4()), AT)
    assert earnings.totals_any_tenant(db, [publisher_id, uuid4()]) == {publisher_id: {"USD": 745, "EUR": 9}}
