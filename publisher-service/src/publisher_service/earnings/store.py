"""Earnings by publisher, zone, day and currency, in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Uuid, any_, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Session, Transaction
from publisher_service.earnings.model import Earning
from publisher_service.tables import earnings

_new = insert(earnings).values({column.name: bindparam(column.name) for column in earnings.columns})
_CREDIT = Query(
    _new.on_conflict_do_update(
        index_elements=[earnings.c.publisher_id, earnings.c.currency_code, earnings.c.day, earnings.c.zone_id],
        set_={
            "amount_micros": earnings.c.amount_micros + _new.excluded.amount_micros,
            "updated_at": _new.excluded.updated_at,
        },
        where=earnings.c.organization_id == _new.excluded.organization_id,
    )
)
_TOTALS_ANY_TENANT = Query(
    select(
        earnings.c.publisher_id,
        earnings.c.currency_code,
        cast(func.sum(earnings.c.amount_micros), BigInteger).label("amount_micros"),
    )
    .where(earnings.c.publisher_id == any_(bindparam("ids", type_=ARRAY(Uuid))))
    .group_by(earnings.c.publisher_id, earnings.c.currency_code)
)


def credit(tx: Transaction, earning: Earning, at: datetime) -> bool:
    """Adds to the zone's earnings of the day; False where the row belongs to another organization."""
    touched = tx.execute(
        _CREDIT,
        organization_id=earning.organization_id,
        publisher_id=earning.publisher_id,
        zone_id=earning.zone_id,
        day=earning.day,
        currency_code=earning.currency_code,
        amount_micros=earning.amount_micros,
        updated_at=at,
    )
    return touched == 1


def totals_any_tenant(db: Session, publisher_ids: Sequence[UUID]) -> Mapping[UUID, Mapping[str, int]]:
    """The total earnings of these publishers, in micros by currency."""
    totals: dict[UUID, dict[str, int]] = {}
    for row in db.all(_TOTALS_ANY_TENANT, ids=list(publisher_ids)):
        totals.setdefault(row.publisher_id, {})[row.currency_code] = row.amount_micros
    return totals
