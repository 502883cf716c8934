"""The campaigns of an organization in debt, in PostgreSQL."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import and_, bindparam, or_, update

from adlib.db import Query, Transaction
from campaign_service.campaigns.model import State
from campaign_service.tables import campaigns

_MARK_FOR_SUSPENSION = Query(
    update(campaigns)
    .where(
        campaigns.c.organization_id == bindparam("of_organization"),
        campaigns.c.currency_code == bindparam("in_currency"),
        or_(
            campaigns.c.state == State.ACTIVE,
            and_(campaigns.c.state == State.PAUSED, campaigns.c.stopped_at.is_(None)),
            and_(
                or_(campaigns.c.state == State.DRAFT, campaigns.c.state == State.PAUSED),
                campaigns.c.hold_key.is_not(None),
            ),
        ),
    )
    .values(is_suspending=True)
    .returning(campaigns.c.id)
)


def mark_for_suspension(tx: Transaction, organization_id: UUID, currency_code: str) -> Sequence[UUID]:
    """Marks the organization's campaigns that deliver or have a hold; returns their ids.

    COMPLETED campaigns have stopped already, and the job releases their holds.
    """
    rows = tx.all(_MARK_FOR_SUSPENSION, of_organization=organization_id, in_currency=currency_code)
    return [row.id for row in rows]
