"""How campaigns stand, as far as their holds are concerned, in PostgreSQL."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Uuid, any_, bindparam, cast, exists, func, or_, select

from adlib.db import Query, Session
from campaign_service.campaigns.model import State
from campaign_service.holds.model import Standing
from campaign_service.tables import campaigns
from campaign_service.tables import spend_postings as postings

_posted = (
    select(cast(func.coalesce(func.sum(postings.c.posted_micros), 0), BigInteger))
    .where(postings.c.campaign_id == campaigns.c.id)
    .scalar_subquery()
)
_is_posting = exists(
    select(postings.c.id).where(postings.c.campaign_id == campaigns.c.id, postings.c.posted_micros.is_(None))
)
_STANDING = select(
    campaigns.c.id, campaigns.c.organization_id, campaigns.c.currency_code, campaigns.c.state,
    campaigns.c.budget_micros, _posted.label("posted_micros"), _is_posting.label("is_posting"), campaigns.c.hold_key,
    campaigns.c.hold_returning, campaigns.c.move_key, campaigns.c.is_suspending, campaigns.c.stopped_at,
    campaigns.c.updated_at, campaigns.c.version,
)  # fmt: skip
_OF_ANYONE = Query(_STANDING.where(campaigns.c.id == any_(bindparam("ids", type_=ARRAY(Uuid)))))
_SPENDING_OF_ALL = Query(
    _STANDING.where(
        or_(campaigns.c.state == State.ACTIVE, campaigns.c.state == State.PAUSED), campaigns.c.id > bindparam("after")
    )
    .order_by(campaigns.c.id)
    .limit(bindparam("most"))
)


def of_anyone(db: Session, ids: Sequence[UUID]) -> dict[UUID, Standing]:
    """These campaigns, whosever they are, also deleted ones; unknown ones are left out. For jobs alone."""
    return {row.id: _standing(row) for row in db.all(_OF_ANYONE, ids=list(ids))}


def spending_of_all(db: Session, after: UUID, most: int) -> Sequence[Standing]:
    """Every tenant's ACTIVE and PAUSED campaigns, by id. For jobs alone."""
    return [_standing(row) for row in db.all(_SPENDING_OF_ALL, after=after, most=most)]


def _standing(row: Any) -> Standing:
    return Standing(**{**row._asdict(), "state": State(row.state)})
