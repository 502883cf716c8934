"""What was rejected, by day and reason."""

from datetime import date

from sqlalchemy import bindparam
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Transaction
from pixel_service.tables import rejections

_new = insert(rejections).values(day=bindparam("day"), reason=bindparam("reason"), count=bindparam("count"))
_COUNT = Query(
    _new.on_conflict_do_update(
        index_elements=[rejections.c.day, rejections.c.reason],
        set_={"count": rejections.c.count + _new.excluded.count},
    )
)


def count(tx: Transaction, day: date, reason: str, times: int) -> None:
    """Adds to the day's rejections for that reason."""
    tx.execute(_COUNT, day=day, reason=reason, count=times)
