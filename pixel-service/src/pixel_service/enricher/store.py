"""Counts of rejected requests by day and reason, in PostgreSQL."""

from datetime import date

from sqlalchemy import bindparam
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Transaction
from pixel_service.tables import rejections

_new = insert(rejections).values(day=bindparam("day"), reason=bindparam("reason"), count=bindparam("count"))
_ADD_REJECTIONS = Query(
    _new.on_conflict_do_update(
        index_elements=[rejections.c.day, rejections.c.reason],
        set_={"count": rejections.c.count + _new.excluded.count},
    )
)


def add_rejections(tx: Transaction, day: date, reason: str, count: int) -> None:
    """Adds to the day's count for the reason."""
    tx.execute(_ADD_REJECTIONS, day=day, reason=reason, count=count)
