"""What the networks report and what the ledger was asked for because of it, in PostgreSQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Cast,
    Column,
    Uuid,
    and_,
    bindparam,
    cast,
    exists,
    false,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Session, Transaction
from campaign_service.campaigns.model import Campaign
from campaign_service.stats.model import Delivery, Figures, Slot, Spent
from campaign_service.tables import campaign_networks as placements
from campaign_service.tables import campaigns
from campaign_service.tables import network_stats as stats
from campaign_service.tables import spend_postings as postings

_organization: BindParameter[UUID] = bindparam("of_organization")
_campaign: BindParameter[UUID] = bindparam("of_campaign")
_network: BindParameter[str] = bindparam("of_network")
_first_day: BindParameter[date] = bindparam("first_day")


def _sum(column: Column[int]) -> Cast[int]:
    return cast(func.coalesce(func.sum(column), 0), BigInteger)


_counted = (
    select(
        stats.c.network,
        _sum(stats.c.impressions).label("impressions"),
        _sum(stats.c.clicks).label("clicks"),
        _sum(stats.c.conversions).label("conversions"),
    )
    .where(stats.c.organization_id == _organization, stats.c.campaign_id == _campaign)
    .group_by(stats.c.network)
    .subquery()
)
_taken = (
    select(postings.c.network, _sum(postings.c.posted_micros).label("spent_micros"))
    .where(postings.c.organization_id == _organization, postings.c.campaign_id == _campaign)
    .group_by(postings.c.network)
    .subquery()
)
_DELIVERIES = Query(
    select(
        placements.c.network,
        func.coalesce(_counted.c.impressions, 0).label("impressions"),
        func.coalesce(_counted.c.clicks, 0).label("clicks"),
        func.coalesce(_counted.c.conversions, 0).label("conversions"),
        func.coalesce(_taken.c.spent_micros, 0).label("spent_micros"),
        placements.c.synced_at,
    )
    .select_from(
        placements.outerjoin(_counted, _counted.c.network == placements.c.network).outerjoin(
            _taken, _taken.c.network == placements.c.network
        )
    )
    .where(placements.c.organization_id == _organization, placements.c.campaign_id == _campaign)
    .order_by(placements.c.network)
    .limit(10)
)
_SPENT = Query(
    select(
        _sum(postings.c.posted_micros).label("posted_micros"),
        cast(
            func.coalesce(func.sum(func.coalesce(postings.c.posted_micros, postings.c.amount_micros)), 0), BigInteger
        ).label("asked_micros"),
    ).where(postings.c.organization_id == _organization, postings.c.campaign_id == _campaign)
)
# A row is stored when its figures grow beyond zero.
_ARE_THERE = Query(
    select(stats.c.campaign_id)
    .where(stats.c.organization_id == _organization, stats.c.campaign_id == _campaign)
    .limit(1)
)
_unposted = and_(postings.c.campaign_id == campaigns.c.id, postings.c.posted_micros.is_(None))
_DUE_OF_ALL = Query(
    select(
        campaigns.c.organization_id,
        campaigns.c.id,
        placements.c.network,
        placements.c.external_id,
        func.coalesce(placements.c.synced_at, campaigns.c.created_at).label("read_at"),
    )
    .select_from(campaigns.join(placements, placements.c.campaign_id == campaigns.c.id))
    .where(
        # A deleted one, too: what it delivered before it stopped is spent.
        campaigns.c.id > bindparam("after"),
        placements.c.network == _network,
        placements.c.external_id.is_not(None),
        or_(
            campaigns.c.state == "ACTIVE",
            campaigns.c.stopped_at > bindparam("stopped_after"),
            # Nothing else would end it, and what is held for it would stay held.
            and_(
                campaigns.c.state == "PAUSED",
                or_(campaigns.c.end_time <= bindparam("now"), campaigns.c.stopped_at.is_(None)),
            ),
            exists(select(postings.c.id).where(_unposted)),
        ),
    )
    .order_by(campaigns.c.id)
    .limit(bindparam("most"))
)
_READ_AT = Query(
    select(placements.c.network, placements.c.synced_at)
    .where(
        placements.c.organization_id == _organization, placements.c.campaign_id == _campaign,
        placements.c.synced_at.is_not(None),
    )
    .limit(10)
)  # fmt: skip
_KNOWN = Query(
    select(stats.c.day, stats.c.zone_id, stats.c.impressions, stats.c.clicks, stats.c.conversions, stats.c.spend_micros)
    .where(
        stats.c.organization_id == _organization, stats.c.campaign_id == _campaign, stats.c.network == _network,
        stats.c.day >= _first_day,
    )
)  # fmt: skip
_ASKED = Query(
    select(postings.c.day, postings.c.zone_id, _sum(postings.c.amount_micros).label("asked_micros"))
    .where(
        postings.c.organization_id == _organization, postings.c.campaign_id == _campaign,
        postings.c.network == _network, postings.c.day >= _first_day,
    )
    .group_by(postings.c.day, postings.c.zone_id)
)  # fmt: skip
_new = insert(stats).values({column.name: bindparam(column.name) for column in stats.c})
_PUT_FIGURES = Query(
    _new.on_conflict_do_update(
        index_elements=["campaign_id", "network", "day", "zone_id"],
        set_={
            **{
                name: func.greatest(stats.c[name], _new.excluded[name])
                for name in ("impressions", "clicks", "conversions", "spend_micros")
            },
            "synced_at": _new.excluded.synced_at,
        },
        where=stats.c.organization_id == _new.excluded.organization_id,
    )
)
_SYNCED = Query(
    update(placements)
    .where(
        placements.c.organization_id == _organization, placements.c.campaign_id == _campaign,
        placements.c.network == _network,
    )
    .values(synced_at=bindparam("at"))
)  # fmt: skip
_posting = ("id", "organization_id", "campaign_id", "network", "day", "zone_id", "amount_micros", "currency_code")
_ADD_POSTING = Query(
    insert(postings).values({name: bindparam(name) for name in (*_posting, "created_at")} | {"resolved": false()})
)
_UNPOSTED = Query(
    select(postings)
    .where(
        postings.c.organization_id == _organization,
        postings.c.campaign_id == _campaign,
        postings.c.posted_micros.is_(None),
    )
    .order_by(postings.c.id)
    .limit(bindparam("most"))
)
_is_it = and_(
    postings.c.organization_id == _organization,
    postings.c.id == bindparam("of_posting"),
    postings.c.posted_micros.is_(None),
)
_RESOLVE = Query(
    update(postings)
    .where(_is_it, postings.c.resolved.is_(False))
    .values(
        resolved=True, publisher_organization_id=bindparam("earner_organization"), publisher_id=bindparam("earner"),
        share_basis_points=bindparam("share"),
    )
)  # fmt: skip
_SETTLE = Query(
    update(postings)
    .where(_is_it)
    .values(posted_micros=bindparam("taken"), publisher_micros=bindparam("earned"))
)  # fmt: skip
# A posting that the ledger knows with other content: what it took stays under the key, the rest gets a new one.
_REKEY = Query(update(postings).where(_is_it).values(id=bindparam("new_id")))
_SHORTEN = Query(update(postings).where(_is_it).values(amount_micros=bindparam("taken")))
_copied = [column for column in postings.c if column.name not in ("id", "amount_micros")]
_COPY_REST = Query(
    insert(postings).from_select(
        ["id", "amount_micros", *(column.name for column in _copied)],
        select(cast(bindparam("new_id"), Uuid), cast(bindparam("rest"), BigInteger), *_copied).where(_is_it),
    )
)


@dataclass(frozen=True, slots=True)
class Due:
    """A campaign on a network whose figures are to be read; `read_at` is when they last were, or when it was made."""

    organization_id: UUID
    campaign_id: UUID
    network: str
    external_id: str
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Earner:
    """The publisher whose zone it is; 7000 basis points are 70 %."""

    organization_id: UUID
    publisher_id: UUID
    basis_points: int


@dataclass(frozen=True, slots=True)
class Posting:
    """An amount that the ledger is asked to take; once `resolved`, what is asked never changes."""

    id: UUID
    organization_id: UUID
    campaign_id: UUID
    network: str
    day: date
    zone_id: str
    amount_micros: int
    currency_code: str
    resolved: bool
    earner: Earner | None


def deliveries(db: Session, organization_id: UUID, campaign_id: UUID) -> Sequence[Delivery]:
    """The campaign's figures at each network that it was started on."""
    rows = db.all(_DELIVERIES, of_organization=organization_id, of_campaign=campaign_id)
    return [Delivery(**row._asdict()) for row in rows]


def spent(db: Session, organization_id: UUID, campaign_id: UUID) -> Spent:
    """What the ledger took for the campaign, and what it is asked for."""
    row = db.one(_SPENT, of_organization=organization_id, of_campaign=campaign_id)
    return Spent(row.posted_micros, row.asked_micros) if row else Spent(0, 0)


def are_there(db: Session, organization_id: UUID, campaign_id: UUID) -> bool:
    """Whether any network has ever reported anything of the campaign."""
    return db.one(_ARE_THERE, of_organization=organization_id, of_campaign=campaign_id) is not None


def due_of_all(
    db: Session, network: str, now: datetime, stopped_after: datetime, after: UUID, most: int
) -> Sequence[Due]:
    """Every tenant's campaigns to read at the network, by id. For jobs alone."""
    rows = db.all(_DUE_OF_ALL, of_network=network, now=now, stopped_after=stopped_after, after=after, most=most)
    return [Due(row.organization_id, row.id, row.network, row.external_id, row.read_at) for row in rows]


def read_at(db: Session, organization_id: UUID, campaign_id: UUID) -> Mapping[str, datetime]:
    """When the campaign's figures were last read, by network; without those where they never were."""
    rows = db.all(_READ_AT, of_organization=organization_id, of_campaign=campaign_id)
    return {row.network: row.synced_at for row in rows}


def known(tx: Transaction, due: Due, first: date) -> Mapping[Slot, Figures]:
    """The figures from this day on, as they were read before."""
    return {
        (row.day, row.zone_id): Figures(row.impressions, row.clicks, row.conversions, row.spend_micros)
        for row in tx.all(_KNOWN, **_of(due), first_day=first)
    }


def asked_micros(tx: Transaction, due: Due, first: date) -> Mapping[Slot, int]:
    """What the ledger was asked for from this day on, or will be."""
    return {(row.day, row.zone_id): row.asked_micros for row in tx.all(_ASKED, **_of(due), first_day=first)}


def put_figures(tx: Transaction, due: Due, figures: Mapping[Slot, Figures], at: datetime) -> None:
    """Stores what has grown, and when the network was read."""
    tx.execute(_SYNCED, **_of(due), at=at)
    tx.execute_many(
        _PUT_FIGURES,
        [
            {
                "organization_id": due.organization_id, "campaign_id": due.campaign_id, "network": due.network,
                "day": day, "zone_id": zone_id, "impressions": one.impressions, "clicks": one.clicks,
                "conversions": one.conversions, "spend_micros": one.spend_micros, "synced_at": at,
            }
            for (day, zone_id), one in figures.items()
        ],
    )  # fmt: skip


def add_postings(
    tx: Transaction, due: Due, owed_micros: Mapping[UUID, tuple[Slot, int]], campaign: Campaign, at: datetime
) -> None:
    """Stores what the ledger must be asked for, by the id that will be the key."""
    tx.execute_many(
        _ADD_POSTING,
        [
            {
                "id": id, "organization_id": due.organization_id, "campaign_id": due.campaign_id,
                "network": due.network, "day": day, "zone_id": zone_id, "amount_micros": amount_micros,
                "currency_code": campaign.currency_code, "created_at": at,
            }
            for id, ((day, zone_id), amount_micros) in owed_micros.items()
        ],
    )  # fmt: skip


def unposted(db: Session, organization_id: UUID, campaign_id: UUID, most: int) -> Sequence[Posting]:
    """The campaign's oldest postings that the ledger has not answered."""
    rows = db.all(_UNPOSTED, of_organization=organization_id, of_campaign=campaign_id, most=most)
    return [
        Posting(
            row.id, row.organization_id, row.campaign_id, row.network, row.day, row.zone_id, row.amount_micros,
            row.currency_code, row.resolved,
            Earner(row.publisher_organization_id, row.publisher_id, row.share_basis_points)
            if row.publisher_id
            else None,
        )
        for row in rows
    ]  # fmt: skip


def resolve(tx: Transaction, posting: Posting) -> None:
    """Stores whose zone the posting is."""
    earner = posting.earner
    tx.execute(
        _RESOLVE, of_organization=posting.organization_id, of_posting=posting.id,
        earner_organization=earner.organization_id if earner else None,
        earner=earner.publisher_id if earner else None,
        share=earner.basis_points if earner else None,
    )  # fmt: skip


def settle(tx: Transaction, posting: Posting, posted_micros: int, publisher_micros: int) -> bool:
    """Stores what the ledger took; False where that was stored before."""
    return (
        tx.execute(
            _SETTLE, of_organization=posting.organization_id, of_posting=posting.id,
            taken=posted_micros, earned=publisher_micros,
        )
        == 1
    )  # fmt: skip


def split(tx: Transaction, posting: Posting, taken_micros: int, new_id: UUID) -> None:
    """Has the posting ask for no more than the ledger took under its key, and asks for the rest with the new one."""
    this = {"of_organization": posting.organization_id, "of_posting": posting.id}
    if not taken_micros:
        tx.execute(_REKEY, **this, new_id=new_id)
        return
    if (rest_micros := posting.amount_micros - taken_micros) > 0:
        tx.execute(_COPY_REST, **this, new_id=new_id, rest=rest_micros)
    tx.execute(_SHORTEN, **this, taken=taken_micros)


def _of(due: Due) -> dict[str, object]:
    return {"of_organization": due.organization_id, "of_campaign": due.campaign_id, "of_network": due.network}
