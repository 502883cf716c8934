"""Reported figures in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, BindParameter, Cast, Column, bindparam, cast, func, select, update
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Session, Transaction
from campaign_service.stats.model import Delivery, Figures, Slot
from campaign_service.tables import campaign_networks, network_stats, spend_postings

_organization: BindParameter[UUID] = bindparam("of_organization")
_campaign: BindParameter[UUID] = bindparam("of_campaign")
_network: BindParameter[str] = bindparam("of_network")


def _sum(column: Column[int]) -> Cast[int]:
    return cast(func.coalesce(func.sum(column), 0), BigInteger)


_figure_sums = (
    select(
        network_stats.c.network,
        _sum(network_stats.c.impressions).label("impressions"),
        _sum(network_stats.c.clicks).label("clicks"),
        _sum(network_stats.c.conversions).label("conversions"),
    )
    .where(network_stats.c.organization_id == _organization, network_stats.c.campaign_id == _campaign)
    .group_by(network_stats.c.network)
    .subquery()
)
_posted_sums = (
    select(spend_postings.c.network, _sum(spend_postings.c.posted_micros).label("spent_micros"))
    .where(spend_postings.c.organization_id == _organization, spend_postings.c.campaign_id == _campaign)
    .group_by(spend_postings.c.network)
    .subquery()
)
_DELIVERIES = Query(
    select(
        campaign_networks.c.network,
        func.coalesce(_figure_sums.c.impressions, 0).label("impressions"),
        func.coalesce(_figure_sums.c.clicks, 0).label("clicks"),
        func.coalesce(_figure_sums.c.conversions, 0).label("conversions"),
        func.coalesce(_posted_sums.c.spent_micros, 0).label("spent_micros"),
        campaign_networks.c.synced_at,
    )
    .select_from(
        campaign_networks.outerjoin(_figure_sums, _figure_sums.c.network == campaign_networks.c.network).outerjoin(
            _posted_sums, _posted_sums.c.network == campaign_networks.c.network
        )
    )
    .where(campaign_networks.c.organization_id == _organization, campaign_networks.c.campaign_id == _campaign)
    .order_by(campaign_networks.c.network)
    .limit(10)
)
# A row exists once one of its figures exceeds zero.
_ANY_FIGURES = Query(
    select(network_stats.c.campaign_id)
    .where(network_stats.c.organization_id == _organization, network_stats.c.campaign_id == _campaign)
    .limit(1)
)
_LAST_SYNCED = Query(
    select(campaign_networks.c.network, campaign_networks.c.synced_at)
    .where(
        campaign_networks.c.organization_id == _organization, campaign_networks.c.campaign_id == _campaign,
        campaign_networks.c.synced_at.is_not(None),
    )
    .limit(10)
)  # fmt: skip
_FIGURES_SINCE = Query(
    select(
        network_stats.c.day, network_stats.c.zone_id, network_stats.c.impressions, network_stats.c.clicks,
        network_stats.c.conversions, network_stats.c.spend_micros,
    ).where(
        network_stats.c.organization_id == _organization, network_stats.c.campaign_id == _campaign,
        network_stats.c.network == _network, network_stats.c.day >= bindparam("first_day"),
    )
)  # fmt: skip
_new = insert(network_stats).values({column.name: bindparam(column.name) for column in network_stats.c})
_SAVE_FIGURES = Query(
    _new.on_conflict_do_update(
        index_elements=["campaign_id", "network", "day", "zone_id"],
        set_={
            **{
                name: func.greatest(network_stats.c[name], _new.excluded[name])
                for name in ("impressions", "clicks", "conversions", "spend_micros")
            },
            "synced_at": _new.excluded.synced_at,
        },
        where=network_stats.c.organization_id == _new.excluded.organization_id,
    )
)
_SET_SYNCED = Query(
    update(campaign_networks)
    .where(
        campaign_networks.c.organization_id == _organization, campaign_networks.c.campaign_id == _campaign,
        campaign_networks.c.network == _network,
    )
    .values(synced_at=bindparam("at"))
)  # fmt: skip


def deliveries(db: Session, organization_id: UUID, campaign_id: UUID) -> Sequence[Delivery]:
    """The campaign's figures at each network that it was started on."""
    rows = db.all(_DELIVERIES, of_organization=organization_id, of_campaign=campaign_id)
    return [Delivery(**row._asdict()) for row in rows]


def has_figures(db: Session, organization_id: UUID, campaign_id: UUID) -> bool:
    """Whether any network has ever reported a figure above zero for the campaign."""
    return db.one(_ANY_FIGURES, of_organization=organization_id, of_campaign=campaign_id) is not None


def last_synced(db: Session, organization_id: UUID, campaign_id: UUID) -> Mapping[str, datetime]:
    """When each network was last read for the campaign; networks that were never read are left out."""
    rows = db.all(_LAST_SYNCED, of_organization=organization_id, of_campaign=campaign_id)
    return {row.network: row.synced_at for row in rows}


def figures_since(
    tx: Transaction, organization_id: UUID, campaign_id: UUID, network: str, first: date
) -> Mapping[Slot, Figures]:
    """The stored figures of this day and later ones."""
    rows = tx.all(
        _FIGURES_SINCE, of_organization=organization_id, of_campaign=campaign_id, of_network=network, first_day=first
    )
    return {
        (row.day, row.zone_id): Figures(row.impressions, row.clicks, row.conversions, row.spend_micros) for row in rows
    }


def save_figures(
    tx: Transaction,
    organization_id: UUID,
    campaign_id: UUID,
    network: str,
    figures: Mapping[Slot, Figures],
    at: datetime,
) -> None:
    """Stores figures that have increased, and that the network was read at this time."""
    tx.execute(_SET_SYNCED, of_organization=organization_id, of_campaign=campaign_id, of_network=network, at=at)
    tx.execute_many(
        _SAVE_FIGURES,
        [
            {
                "organization_id": organization_id, "campaign_id": campaign_id, "network": network,
                "day": day, "zone_id": zone_id, "impressions": one.impressions, "clicks": one.clicks,
                "conversions": one.conversions, "spend_micros": one.spend_micros, "synced_at": at,
            }
            for (day, zone_id), one in figures.items()
        ],
    )  # fmt: skip
