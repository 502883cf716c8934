"""PublisherService and ZoneDirectoryService of the contract."""

from uuid import UUID

from adplatform.payment.v1.payment_pb2 import PublisherBalance
from adplatform.publisher.v1 import publisher_pb2 as pb

from adlib.clock import timestamp
from adlib.rpc import Call
from publisher_service.publishers.model import Publisher, Site, State, Zone
from publisher_service.publishers.service import PublisherService


class PublisherServicer:
    """PublisherService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["PublisherService"]

    def __init__(self, publishers: PublisherService) -> None:
        self._publishers = publishers

    def CreatePublisher(self, request: pb.CreatePublisherRequest, call: Call) -> pb.Publisher:
        idempotency = call.idempotency(request, _publisher, pb.Publisher)
        return self._publishers.create(call.caller, request.name, request.email, idempotency)

    def ListPublishers(self, request: pb.ListPublishersRequest, call: Call) -> pb.ListPublishersResponse:
        state = State(pb.Publisher.State.Name(request.state)) if request.state else None
        found = self._publishers.list_page(call.caller, call.page(request), state)
        return pb.ListPublishersResponse(
            publishers=[_publisher(one) for one in found.rows], next_page_token=found.next_page_token
        )

    def GetPublisher(self, request: pb.GetPublisherRequest, call: Call) -> pb.Publisher:
        return _publisher(self._publishers.get(call.caller, UUID(request.publisher_id)))

    def ApprovePublisher(self, request: pb.ApprovePublisherRequest, call: Call) -> pb.Publisher:
        return _publisher(self._publishers.approve(call.caller, UUID(request.publisher_id)))

    def CreateSite(self, request: pb.CreateSiteRequest, call: Call) -> pb.Site:
        idempotency = call.idempotency(request, _site, pb.Site)
        return self._publishers.create_site(
            call.caller, UUID(request.publisher_id), request.name, request.url, idempotency
        )

    def ListSites(self, request: pb.ListSitesRequest, call: Call) -> pb.ListSitesResponse:
        page = call.page(request)
        found = self._publishers.list_sites(call.caller, UUID(request.publisher_id), page)
        return pb.ListSitesResponse(sites=[_site(one) for one in found.rows], next_page_token=found.next_page_token)

    def CreateZone(self, request: pb.CreateZoneRequest, call: Call) -> pb.Zone:
        idempotency = call.idempotency(request, _zone, pb.Zone)
        return self._publishers.create_zone(
            call.caller,
            UUID(request.publisher_id),
            UUID(request.site_id),
            request.name,
            (request.width, request.height),
            idempotency,
        )

    def ListZones(self, request: pb.ListZonesRequest, call: Call) -> pb.ListZonesResponse:
        page = call.page(request)
        found = self._publishers.list_zones(call.caller, UUID(request.publisher_id), page)
        return pb.ListZonesResponse(zones=[_zone(one) for one in found.rows], next_page_token=found.next_page_token)

    def ListBalances(self, request: pb.ListBalancesRequest, call: Call) -> pb.ListBalancesResponse:
        balances, token = self._publishers.balances(call.caller, call.page(request))
        rows = [
            PublisherBalance(
                publisher_id=str(one.publisher_id),
                currency_code=one.currency_code,
                pending_micros=one.pending_micros,
                available_micros=one.available_micros,
                on_hold_micros=one.on_hold_micros,
                paid_micros=one.paid_micros,
            )
            for one in balances
        ]
        return pb.ListBalancesResponse(balances=rows, next_page_token=token)


class ZoneDirectoryServicer:
    """ZoneDirectoryService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["ZoneDirectoryService"]

    def __init__(self, publishers: PublisherService) -> None:
        self._publishers = publishers

    def ResolveZones(self, request: pb.ResolveZonesRequest, _call: Call) -> pb.ResolveZonesResponse:
        owners = self._publishers.zone_owners([UUID(id) for id in request.zone_ids])
        return pb.ResolveZonesResponse(
            zones=[
                pb.ZoneOwner(
                    zone_id=str(owner.zone_id),
                    publisher_id=str(owner.publisher_id),
                    organization_id=str(owner.organization_id),
                    share_basis_points=owner.share_basis_points,
                )
                for owner in owners
            ]
        )


def _publisher(publisher: Publisher) -> pb.Publisher:
    return pb.Publisher(
        id=str(publisher.id),
        organization_id=str(publisher.organization_id),
        name=publisher.name,
        email=publisher.email,
        state=pb.Publisher.State.Value(publisher.state),
        share_basis_points=publisher.share_basis_points,
        create_time=timestamp(publisher.created_at),
        update_time=timestamp(publisher.updated_at),
    )


def _site(site: Site) -> pb.Site:
    return pb.Site(
        id=str(site.id),
        publisher_id=str(site.publisher_id),
        name=site.name,
        url=site.url,
        create_time=timestamp(site.created_at),
    )


def _zone(zone: Zone) -> pb.Zone:
    return pb.Zone(
        id=str(zone.id),
        publisher_id=str(zone.publisher_id),
        site_id=str(zone.site_id),
        name=zone.name,
        width=zone.width,
        height=zone.height,
        create_time=timestamp(zone.created_at),
    )
