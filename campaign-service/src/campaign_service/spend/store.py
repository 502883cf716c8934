"""Spend postings in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, BindParameter, Cast, Column, Uuid, and_, bindparam, cast, false, func, select, update
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Session, Transaction
from campaign_service.spend.model import Earner, PlacementRef, Posting, Spent
from campaign_service.stats.model import Slot
from campaign_service.tables import spend_postings

_organization: BindParameter[UUID] = bindparam("of_organization")
_campaign: BindParameter[UUID] = bindparam("of_campaign")


def _sum(column: Column[int]) -> Cast[int]:
    return cast(func.coalesce(func.sum(column), 0), BigInteger)


# A posting without an answer yet counts with its requested amount.
_requested = func.coalesce(spend_postings.c.posted_micros, spend_postings.c.amount_micros)
_SPENT = Query(
    select(
        _sum(spend_postings.c.posted_micros).label("posted_micros"),
        cast(func.coalesce(func.sum(_requested), 0), BigInteger).label("requested_micros"),
    ).where(spend_postings.c.organization_id == _organization, spend_postings.c.campaign_id == _campaign)
)
_REQUESTED_SINCE = Query(
    select(
        spend_postings.c.day, spend_postings.c.zone_id,
        _sum(spend_postings.c.amount_micros).label("requested_micros"),
    )
    .where(
        spend_postings.c.organization_id == _organization, spend_postings.c.campaign_id == _campaign,
        spend_postings.c.network == bindparam("of_network"), spend_postings.c.day >= bindparam("first_day"),
    )
    .group_by(spend_postings.c.day, spend_postings.c.zone_id)
)  # fmt: skip
_columns = ("id", "organization_id", "campaign_id", "network", "day", "zone_id", "amount_micros", "currency_code")
_ADD = Query(
    insert(spend_postings).values({name: bindparam(name) for name in (*_columns, "created_at")} | {"resolved": false()})
)
_UNPOSTED = Query(
    select(spend_postings)
    .where(
        spend_postings.c.organization_id == _organization,
        spend_postings.c.campaign_id == _campaign,
        spend_postings.c.posted_micros.is_(None),
    )
    .order_by(spend_postings.c.id)
    .limit(bindparam("most"))
)
_this_posting = and_(
    spend_postings.c.organization_id == _organization,
    spend_postings.c.id == bindparam("of_posting"),
    spend_postings.c.posted_micros.is_(None),
)
_RESOLVE = Query(
    update(spend_postings)
    .where(_this_posting, spend_postings.c.resolved.is_(False))
    .values(
        resolved=True, publisher_organization_id=bindparam("earner_organization"), publisher_id=bindparam("earner"),
        share_basis_points=bindparam("share"),
    )
)  # fmt: skip
_SETTLE = Query(
    update(spend_postings)
    .where(_this_posting)
    .values(posted_micros=bindparam("posted"), publisher_micros=bindparam("earned"))
)  # fmt: skip
# For a key that the ledger knows with other content: the posted amount keeps the key, the rest gets a new one.
_REKEY = Query(update(spend_postings).where(_this_posting).values(id=bindparam("new_id")))
_SHORTEN = Query(update(spend_postings).where(_this_posting).values(amount_micros=bindparam("posted")))
_copied = [column for column in spend_postings.c if column.name not in ("id", "amount_micros")]
_COPY_REST = Query(
    insert(spend_postings).from_select(
        ["id", "amount_micros", *(column.name for column in _copied)],
        select(cast(bindparam("new_id"), Uuid), cast(bindparam("rest"), BigInteger), *_copied).where(_this_posting),
    )
)


def spent(db: Session, organization_id: UUID, campaign_id: UUID) -> Spent:
    """The campaign's posted and requested spend."""
    row = db.one(_SPENT, of_organization=organization_id, of_campaign=campaign_id)
    return Spent(row.posted_micros, row.requested_micros) if row else Spent(0, 0)


def requested_since(tx: Transaction, placement: PlacementRef, first: date) -> Mapping[Slot, int]:
    """The sum of the postings of each slot, in micros, on this day and later ones."""
    rows = tx.all(
        _REQUESTED_SINCE, of_organization=placement.organization_id, of_campaign=placement.campaign_id,
        of_network=placement.network, first_day=first,
    )  # fmt: skip
    return {(row.day, row.zone_id): row.requested_micros for row in rows}


def add(
    tx: Transaction,
    placement: PlacementRef,
    amounts_micros: Mapping[UUID, tuple[Slot, int]],
    currency_code: str,
    at: datetime,
) -> None:
    """Stores new postings by their ids."""
    tx.execute_many(
        _ADD,
        [
            {
                "id": id, "organization_id": placement.organization_id, "campaign_id": placement.campaign_id,
                "network": placement.network, "day": day, "zone_id": zone_id, "amount_micros": amount_micros,
                "currency_code": currency_code, "created_at": at,
            }
            for id, ((day, zone_id), amount_micros) in amounts_micros.items()
        ],
    )  # fmt: skip


def unposted(db: Session, organization_id: UUID, campaign_id: UUID, limit: int) -> Sequence[Posting]:
    """The campaign's oldest postings without an answer from the ledger."""
    rows = db.all(_UNPOSTED, of_organization=organization_id, of_campaign=campaign_id, most=limit)
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
    """Stores which publisher earns from the posting, if any."""
    earner = posting.earner
    tx.execute(
        _RESOLVE, of_organization=posting.organization_id, of_posting=posting.id,
        earner_organization=earner.organization_id if earner else None,
        earner=earner.publisher_id if earner else None,
        share=earner.basis_points if earner else None,
    )  # fmt: skip


def settle(tx: Transaction, posting: Posting, posted_micros: int, publisher_micros: int) -> bool:
    """Stores the amount that the ledger posted; False where it was stored before."""
    changed = tx.execute(
        _SETTLE, of_organization=posting.organization_id, of_posting=posting.id,
        posted=posted_micros, earned=publisher_micros,
    )  # fmt: skip
    return changed == 1


def split(tx: Transaction, posting: Posting, posted_micros: int, new_id: UUID) -> None:
    """Reduces the posting to the amount that the ledger has under its key; the rest becomes a posting with a new id."""
    target = {"of_organization": posting.organization_id, "of_posting": posting.id}
    if not posted_micros:
        tx.execute(_REKEY, **target, new_id=new_id)
        return
    if (rest_micros := posting.amount_micros - posted_micros) > 0:
        tx.execute(_COPY_REST, **target, new_id=new_id, rest=rest_micros)
    tx.execute(_SHORTEN, **target, posted=posted_micros)
