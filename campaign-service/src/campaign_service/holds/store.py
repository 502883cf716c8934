"""The campaigns that SweepHolds compares, in PostgreSQL."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Uuid, any_, bindparam, cast, exists, func, or_, select

from adlib.db import Query, Session
from campaign_service.campaigns.model import State
from campaign_service.holds.model import HoldState
from campaign_service.tables import campaigns, spend_postings

_posted = (
    select(cast(func.coalesce(func.sum(spend_postings.c.posted_micros), 0), BigInteger))
    .where(spend_postings.c.campaign_id == campaigns.c.id)
    .scalar_subquery()
)
_has_unposted_spend = exists(
    select(spend_postings.c.id).where(
        spend_postings.c.campaign_id == campaigns.c.id, spend_postings.c.posted_micros.is_(None)
    )
)
_HOLD_STATES = select(
    campaigns.c.id, campaigns.c.organization_id, campaigns.c.currency_code, campaigns.c.state,
    campaigns.c.budget_micros, campaigns.c.hold_key, campaigns.c.is_suspending, campaigns.c.stopped_at,
    campaigns.c.updated_at, campaigns.c.version,
    campaigns.c.hold_returning.label("is_releasing_hold"), campaigns.c.move_key.label("budget_change_key"),
    _posted.label("posted_micros"), _has_unposted_spend.label("has_unposted_spend"),
)  # fmt: skip
_BY_ID_ANY_TENANT = Query(_HOLD_STATES.where(campaigns.c.id == any_(bindparam("ids", type_=ARRAY(Uuid)))))
_RUNNING_ANY_TENANT = Query(
    _HOLD_STATES.where(
        or_(campaigns.c.state == State.ACTIVE, campaigns.c.state == State.PAUSED), campaigns.c.id > bindparam("after")
    )
    .order_by(campaigns.c.id)
    .limit(bindparam("most"))
)


def by_id_any_tenant(db: Session, ids: Sequence[UUID]) -> dict[UUID, HoldState]:
    """These campaigns of every tenant, including deleted ones; unknown ids are left out."""
    return {row.id: _hold_state(row) for row in db.all(_BY_ID_ANY_TENANT, ids=list(ids))}


def running_any_tenant(db: Session, after: UUID, limit: int) -> Sequence[HoldState]:
    """Every tenant's ACTIVE and PAUSED campaigns in the order of their ids, after this id."""
    return [_hold_state(row) for row in db.all(_RUNNING_ANY_TENANT, after=after, most=limit)]


def _hold_state(row: Any) -> HoldState:
    return HoldState(**{**row._asdict(), "state": State(row.state)})
