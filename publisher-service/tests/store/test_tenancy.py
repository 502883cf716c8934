"""No statement for a tenant touches another tenant's rows, and the tables themselves refuse to mix them."""

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


def test_what_is_stored_is_read_back_by_its_organization_alone(db: Database) -> None:
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


def test_staff_statements_see_everyone_newest_first(db: Database) -> None:
    first, second = tenant(db), tenant(db)
    assert store.staff_list_page(db, Page(50)) == [second.publisher, first.publisher]
    assert store.staff_list_page(db, Page(50), State.APPROVED) == []
    assert store.staff_find(db, first.publisher.id) == first.publisher
    assert store.staff_list_sites(db, first.publisher.id, Page(50)) == [first.site]
    assert store.staff_list_zones(db, first.publisher.id, Page(50)) == [first.zone]
    assert payouts.staff_find(db, first.payout.id) == first.payout


def test_changes_need_the_right_organization(db: Database) -> None:
    ours, other = tenant(db), uuid4()
    with db.transaction() as tx:
        store.set_state(tx, replace(ours.publisher.approve(AT), organization_id=other))
        payouts.update_state(tx, replace(ours.payout.carried_on(AT), organization_id=other))
        payouts.remove(tx, replace(ours.payout, organization_id=other))
    assert store.staff_find(db, ours.publisher.id) == ours.publisher
    assert payouts.staff_find(db, ours.payout.id) == ours.payout


def test_an_organization_has_one_publisher(db: Database) -> None:
    ours = tenant(db)
    with pytest.raises(PublisherExists), db.transaction() as tx:
        store.add(tx, publisher(ours.publisher.organization_id))


def test_a_row_cannot_name_another_tenants_publisher_or_site(db: Database) -> None:
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
        store.set_state(tx, ours.publisher.approve(AT))
    (owner,) = store.staff_zone_owners(db, [ours.zone.id, pending.zone.id, uuid4()])
    assert (owner.zone_id, owner.organization_id) == (ours.zone.id, ours.publisher.organization_id)


def test_left_over_are_payouts_that_payment_service_has_yet_to_be_told_of(db: Database) -> None:
    ours = tenant(db)
    due = ours.payout.retry_at
    assert payouts.staff_left_over(db, AT, 10) == []
    assert payouts.staff_left_over(db, due, 10) == [ours.payout.id]
    told = ours.payout.carried_on(AT)
    for payout, expected in (
        (told, []),
        (told.reject(uuid4(), "no", AT), [told.id]),
        (told.approve(uuid4(), AT), [told.id]),
    ):
        with db.transaction() as tx:
            payouts.update_state(tx, payout)
        assert payouts.staff_left_over(db, due, 10) == expected


def test_only_a_payout_whose_money_was_never_set_aside_is_removed(db: Database) -> None:
    ours = tenant(db)
    with db.transaction() as tx:
        payouts.update_state(tx, ours.payout.carried_on(AT))
        payouts.remove(tx, ours.payout)
    kept = payouts.staff_find(db, ours.payout.id)
    assert kept is not None
    assert kept.state is PayoutState.PENDING_APPROVAL
    with db.transaction() as tx:
        payouts.update_state(tx, ours.payout)
        payouts.remove(tx, ours.payout)
    assert payouts.staff_find(db, ours.payout.id) is None


def test_earnings_add_up_by_currency_and_stay_with_their_organization(db: Database) -> None:
    organization, publisher_id = uuid4(), uuid4()
    one = Earning(new_id(), organization, publisher_id, uuid4(), AT.date(), "USD", 700)
    with db.transaction() as tx:
        assert earnings.credit(tx, one, AT)
        assert earnings.credit(tx, replace(one, amount_micros=40), AT)
        assert earnings.credit(tx, replace(one, zone_id=uuid4(), amount_micros=5), AT)
        assert earnings.credit(tx, replace(one, currency_code="EUR", amount_micros=9), AT)
        assert not earnings.credit(tx, replace(one, organization_id=uuid4()), AT)
    assert earnings.staff_totals(db, [publisher_id, uuid4()]) == {publisher_id: {"USD": 745, "EUR": 9}}
