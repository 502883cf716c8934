"""Publishers, sites, zones and balances over gRPC."""

from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.events.v1.events_pb2 import Event
from adplatform.options.v1.options_pb2 import Permission
from adplatform.publisher.v1 import publisher_pb2 as pb
from adplatform.publisher.v1 import publisher_pb2_grpc

from adtesting import eventually

PENDING, APPROVED = pb.Publisher.PENDING, pb.Publisher.APPROVED


def site_of(publisher, **changes: str) -> pb.CreateSiteRequest:
    return pb.CreateSiteRequest(
        **{"publisher_id": publisher.id, "name": "Front", "url": "https://news.example", **changes}
    )


def zone_of(site, **changes: object) -> pb.CreateZoneRequest:
    fields = {"publisher_id": site.publisher_id, "site_id": site.id, "name": "Top", "width": 728, "height": 90}
    return pb.CreateZoneRequest(**{**fields, **changes})


def test_new_publisher_is_pending_with_a_70_percent_share(register, member, publishers) -> None:
    owner = member()
    made = register(owner)
    assert (made.state, made.share_basis_points) == (PENDING, 7000)
    assert made.organization_id == str(owner.organization_id)
    assert publishers.GetPublisher(pb.GetPublisherRequest(publisher_id=made.id), metadata=owner.headers()) == made


@pytest.mark.parametrize("kind", [Organization.ADVERTISER, Organization.PLATFORM])
def test_only_publisher_organizations_can_register(kind, member, register, refused) -> None:
    somebody = member(kind, Permission.ADMIN_FULL)
    refused(ErrorReason.NOT_A_PUBLISHER_ORGANIZATION, register, somebody)


def test_organization_has_at_most_one_publisher(register, member, refused) -> None:
    owner = member()
    first = register(owner, idempotency_key="one")
    assert register(owner, idempotency_key="one") == first
    refused(ErrorReason.PUBLISHER_EXISTS, register, owner)
    refused(ErrorReason.PUBLISHER_EXISTS, register, owner, idempotency_key="two")


def test_other_organizations_publisher_is_not_found(register, member, publishers, refused) -> None:
    theirs = register(member())
    other = member(Organization.PUBLISHER, Permission.ADMIN_FULL)
    calls = {
        publishers.GetPublisher: pb.GetPublisherRequest(publisher_id=theirs.id),
        publishers.ApprovePublisher: pb.ApprovePublisherRequest(publisher_id=theirs.id),
        publishers.CreateSite: site_of(theirs),
        publishers.ListSites: pb.ListSitesRequest(publisher_id=theirs.id),
        publishers.CreateZone: zone_of(pb.Site(id=str(uuid4()), publisher_id=theirs.id)),
        publishers.ListZones: pb.ListZonesRequest(publisher_id=theirs.id),
    }
    for method, request in calls.items():
        refused(ErrorReason.PUBLISHER_NOT_FOUND, method, request, metadata=other.headers())
    assert not publishers.ListPublishers(pb.ListPublishersRequest(), metadata=other.headers()).publishers
    assert not publishers.ListBalances(pb.ListBalancesRequest(), metadata=other.headers()).balances


def test_staff_list_all_publishers_newest_first(register, member, staff, publishers) -> None:
    made = [register(member(), staff if number == 1 else None) for number in range(3)]
    request = pb.ListPublishersRequest(page_size=2)
    first = publishers.ListPublishers(request, metadata=staff.headers())
    request.page_token = first.next_page_token
    second = publishers.ListPublishers(request, metadata=staff.headers())
    assert [*first.publishers, *second.publishers] == made[::-1]
    assert not second.next_page_token
    only = publishers.ListPublishers(pb.ListPublishersRequest(state=APPROVED), metadata=staff.headers())
    assert [one.id for one in only.publishers] == [made[1].id]


def test_approval_requires_staff_and_is_published_once(register, member, staff, publishers, refused, bus) -> None:
    owner = member(Organization.PUBLISHER, Permission.ADMIN_FULL)
    made = register(owner)
    request = pb.ApprovePublisherRequest(publisher_id=made.id)
    refused(ErrorReason.PUBLISHER_NOT_FOUND, publishers.ApprovePublisher, request, metadata=owner.headers())
    approved = publishers.ApprovePublisher(request, metadata=staff.headers())
    assert approved.state == APPROVED
    assert publishers.ApprovePublisher(request, metadata=staff.headers()) == approved
    other = register(member(), staff)
    listener = bus.subscribe("publisher", "test", "test")
    events: list[Event] = []

    def both() -> bool:
        events.extend(Event.FromString(one.payload) for one in listener.receive(10, 100))
        return len(events) >= 2

    eventually(both)
    published = [(event.publisher_approved.publisher_id, event.organization_id) for event in events]
    assert published == [(made.id, str(owner.organization_id)), (other.id, other.organization_id)]


def test_pending_publisher_can_create_sites_and_zones(register, member, staff, publishers) -> None:
    owner = member()
    made = register(owner)
    sites = [publishers.CreateSite(site_of(made, name=name), metadata=owner.headers()) for name in "abc"]
    zones = [publishers.CreateZone(zone_of(sites[0], name=name), metadata=owner.headers()) for name in "xyz"]
    for reader in (owner, staff):
        listed = publishers.ListSites(pb.ListSitesRequest(publisher_id=made.id), metadata=reader.headers())
        assert list(listed.sites) == sites[::-1]
        request = pb.ListZonesRequest(publisher_id=made.id, page_size=2)
        page = publishers.ListZones(request, metadata=reader.headers())
        request.page_token = page.next_page_token
        rest = publishers.ListZones(request, metadata=reader.headers())
        assert [*page.zones, *rest.zones] == zones[::-1]


def test_repeated_idempotency_key_creates_one_site_or_zone(register, member, publishers, refused) -> None:
    owner = member()
    made = register(owner)
    once = owner.headers(idempotency_key="k")
    site = publishers.CreateSite(site_of(made), metadata=once)
    assert publishers.CreateSite(site_of(made), metadata=once) == site
    refused(ErrorReason.IDEMPOTENCY_KEY_REUSED, publishers.CreateSite, site_of(made, name="b"), metadata=once)
    zone = publishers.CreateZone(zone_of(site), metadata=once)
    assert publishers.CreateZone(zone_of(site), metadata=once) == zone
    assert len(publishers.ListSites(pb.ListSitesRequest(publisher_id=made.id), metadata=owner.headers()).sites) == 1
    assert len(publishers.ListZones(pb.ListZonesRequest(publisher_id=made.id), metadata=owner.headers()).zones) == 1


def test_zone_requires_a_site_of_its_publisher(register, member, publishers, refused) -> None:
    owner, other = member(), member()
    ours, theirs = register(owner), register(other)
    site = publishers.CreateSite(site_of(theirs), metadata=other.headers())
    for id in (site.id, str(uuid4())):
        request = zone_of(site, publisher_id=ours.id, site_id=id)
        refused(ErrorReason.SITE_NOT_FOUND, publishers.CreateZone, request, metadata=owner.headers())


def test_staff_cannot_create_sites_for_publishers(register, member, staff, publishers, refused) -> None:
    made = register(member())
    refused(ErrorReason.PUBLISHER_NOT_FOUND, publishers.CreateSite, site_of(made), metadata=staff.headers())


def test_only_campaign_service_resolves_zones_of_approved_publishers(
    register, member, staff, publishers, identities, channel, refused
) -> None:
    directory = publisher_pb2_grpc.ZoneDirectoryServiceStub(channel)
    zones = []
    for approver in (staff, None):
        owner = member()
        made = register(owner, approver)
        site = publishers.CreateSite(site_of(made), metadata=owner.headers())
        zones.append(publishers.CreateZone(zone_of(site), metadata=owner.headers()))
    request = pb.ResolveZonesRequest(zone_ids=[*(zone.id for zone in zones), str(uuid4())])
    (found,) = directory.ResolveZones(request, metadata=identities.service_headers("campaign-service")).zones
    approved = publishers.GetPublisher(
        pb.GetPublisherRequest(publisher_id=zones[0].publisher_id), metadata=staff.headers()
    )
    assert found == pb.ZoneOwner(
        zone_id=zones[0].id,
        publisher_id=approved.id,
        organization_id=approved.organization_id,
        share_basis_points=7000,
    )
    who = {"metadata": identities.service_headers("payment-service")}
    refused(ErrorReason.SERVICE_NOT_ALLOWED, directory.ResolveZones, request, **who)


def test_balances_list_every_publisher_and_currency(register, member, staff, publishers, ledger) -> None:
    owner = member()
    ours, theirs = register(owner), register(member())
    ledger.credit(UUID(ours.id), 70, "USD")
    ledger.credit(UUID(ours.id), 50, "EUR")

    def rows(reader) -> list[tuple[str, str, int]]:
        found = publishers.ListBalances(pb.ListBalancesRequest(), metadata=reader.headers()).balances
        return [(row.publisher_id, row.currency_code, row.available_micros) for row in found]

    own = [(ours.id, "EUR", 50), (ours.id, "USD", 70)]
    assert rows(owner) == own
    assert rows(staff) == [(theirs.id, "USD", 0), *own]
    ledger.hold_earnings(UUID(ours.id), 30, "USD")
    *_, held = publishers.ListBalances(pb.ListBalancesRequest(), metadata=owner.headers()).balances
    assert (held.available_micros, held.on_hold_micros) == (40, 30)


def test_balances_are_unavailable_while_payment_service_is_down(register, member, publishers, ledger, refused) -> None:
    owner = member()
    register(owner)
    ledger.is_down = True
    refused(ErrorReason.UNAVAILABLE, publishers.ListBalances, pb.ListBalancesRequest(), metadata=owner.headers())


@pytest.mark.parametrize(
    "codes", [[Permission.PUBLISHERS_READ], [Permission.PUBLISHERS_CREATE], [Permission.PUBLISHERS_UPDATE]]
)
def test_every_method_requires_its_permission(codes, member, publishers) -> None:
    somebody = member(Organization.PUBLISHER, *codes)
    request = pb.CreatePublisherRequest(name="News", email="ads@example.com")
    if codes == [Permission.PUBLISHERS_CREATE]:
        assert publishers.CreatePublisher(request, metadata=somebody.headers()).id
        return
    with pytest.raises(grpc.RpcError) as error:
        publishers.CreatePublisher(request, metadata=somebody.headers())
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
