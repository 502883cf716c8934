"""The campaigns that SyncStats works on, in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, bindparam, exists, func, or_, select

from adlib.db import Query, Session
from campaign_service.campaigns.model import State
from campaign_service.sync.model import CampaignToSync, PendingOperation
from campaign_service.tables import campaign_networks, campaigns, spend_postings

_PENDING_ANY_TENANT = Query(
    select(campaigns.c.organization_id, campaigns.c.id)
    .where(
        or_(
            # A suspension for a debt does not wait.
            campaigns.c.is_suspending,
            and_(
                campaigns.c.updated_at < bindparam("started_before"),
                or_(
                    and_(campaigns.c.state == State.DRAFT, campaigns.c.hold_key.is_not(None)),
                    # Resuming was interrupted.
                    and_(campaigns.c.state == State.PAUSED, campaigns.c.stopped_at.is_(None)),
                    # A COMPLETED campaign with a hold has all of it released later.
                    and_(
                        or_(campaigns.c.state != State.COMPLETED, campaigns.c.hold_key.is_(None)),
                        campaigns.c.move_key.is_not(None),
                    ),
                ),
            ),
            and_(
                campaigns.c.state == State.COMPLETED,
                campaigns.c.hold_key.is_not(None),
                or_(
                    campaigns.c.stopped_at < bindparam("stopped_before"),
                    # It never delivered, so its hold is released without waiting.
                    and_(campaigns.c.hold_returning, campaigns.c.updated_at < bindparam("started_before")),
                ),
            ),
        ),
    )
    .order_by(campaigns.c.id)
    .limit(1000)
)
_unposted = and_(spend_postings.c.campaign_id == campaigns.c.id, spend_postings.c.posted_micros.is_(None))
_TO_SYNC_ANY_TENANT = Query(
    select(
        campaigns.c.organization_id,
        campaigns.c.id,
        campaign_networks.c.network,
        campaign_networks.c.external_id,
        func.coalesce(campaign_networks.c.synced_at, campaigns.c.created_at).label("read_at"),
    )
    .select_from(campaigns.join(campaign_networks, campaign_networks.c.campaign_id == campaigns.c.id))
    .where(
        # Includes deleted campaigns: their delivery before they stopped is charged.
        campaigns.c.id > bindparam("after"),
        campaign_networks.c.network == bindparam("of_network"),
        campaign_networks.c.external_id.is_not(None),
        or_(
            campaigns.c.state == State.ACTIVE,
            campaigns.c.stopped_at > bindparam("stopped_after"),
            # Only this job completes such a campaign, and its hold is released only after completion.
            and_(
                campaigns.c.state == State.PAUSED,
                or_(campaigns.c.end_time <= bindparam("now"), campaigns.c.stopped_at.is_(None)),
            ),
            exists(select(spend_postings.c.id).where(_unposted)),
        ),
    )
    .order_by(campaigns.c.id)
    .limit(bindparam("most"))
)


def pending_operations_any_tenant(
    db: Session, started_before: datetime, stopped_before: datetime
) -> Sequence[PendingOperation]:
    """Every tenant's campaigns with an interrupted operation, or with a hold that is due for release."""
    rows = db.all(_PENDING_ANY_TENANT, started_before=started_before, stopped_before=stopped_before)
    return [PendingOperation(row.organization_id, row.id) for row in rows]


def campaigns_to_sync_any_tenant(
    db: Session, network: str, now: datetime, stopped_after: datetime, after: UUID, limit: int
) -> Sequence[CampaignToSync]:
    """Every tenant's campaigns to read at the network, in the order of their ids, after this id."""
    rows = db.all(
        _TO_SYNC_ANY_TENANT, of_network=network, now=now, stopped_after=stopped_after, after=after, most=limit
    )
    return [CampaignToSync(row.organization_id, row.id, row.network, row.external_id, row.read_at) for row in rows]
