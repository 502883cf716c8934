"""Campaigns in PostgreSQL."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import and_, bindparam, func, insert, or_, select, update

from adlib.db import Query, Session, Transaction
from adlib.paging import Page
from campaign_service.campaigns.model import BudgetChange, Campaign, CampaignNotFound, Reason, State
from campaign_service.tables import campaigns

# The similarity that a word of a name needs, by shared trigrams (pg_trgm): "sprnig sale" finds "Spring sale".
_MIN_SIMILARITY = 0.4

# The columns whose names differ from the model's attributes.
_RENAMED = {"hold_returning": "is_releasing_hold"}
_BUDGET_CHANGE = {
    "move_key": "key",
    "moving_micros": "hold_micros",
    "wanted_budget_micros": "new_budget_micros",
    "moves_back": "is_reverting",
    "is_limited": "is_release_decided",
}
# The values of those columns while no change is in progress.
_NO_CHANGE = {
    "move_key": None, "moving_micros": 0, "wanted_budget_micros": None, "moves_back": False, "is_limited": False,
}  # fmt: skip
_NAMES = [column.name for column in campaigns.c]
_THIS_CAMPAIGN = and_(
    campaigns.c.organization_id == bindparam("of_organization"),
    campaigns.c.id == bindparam("of_campaign"),
)
_ADD = Query(insert(campaigns).values({name: bindparam(name) for name in _NAMES}))
_GET = Query(select(campaigns).where(_THIS_CAMPAIGN, campaigns.c.deleted_at.is_(None)))
_GET_WITH_DELETED = Query(select(campaigns).where(_THIS_CAMPAIGN))
_LOCK = Query(select(campaigns).where(_THIS_CAMPAIGN).with_for_update())
_UPDATE = Query(update(campaigns).where(_THIS_CAMPAIGN).values({name: bindparam(f"new_{name}") for name in _NAMES}))
_PAGE = (
    select(campaigns)
    .where(
        campaigns.c.organization_id == bindparam("of_organization"),
        campaigns.c.deleted_at.is_(None),
        campaigns.c.id < bindparam("before"),
    )
    .order_by(campaigns.c.id.desc())
    .limit(bindparam("most"))
)
_IN_STATE = campaigns.c.state == bindparam("in_state")
# An organization has thousands of campaigns at most, so its names are compared one by one (a millisecond a thousand).
_NAME_MATCHES = or_(
    func.strpos(func.lower(campaigns.c.name), func.lower(bindparam("words"))) > 0,
    func.word_similarity(bindparam("words"), campaigns.c.name) >= _MIN_SIMILARITY,
)
_LISTS = {
    (False, False): Query(_PAGE),
    (True, False): Query(_PAGE.where(_IN_STATE)),
    (False, True): Query(_PAGE.where(_NAME_MATCHES)),
    (True, True): Query(_PAGE.where(_IN_STATE, _NAME_MATCHES)),
}


def add(tx: Transaction, campaign: Campaign) -> None:
    """Stores a new campaign."""
    tx.execute(_ADD, **_values(campaign))


def get(db: Session, organization_id: UUID, campaign_id: UUID) -> Campaign:
    """The campaign; CAMPAIGN_NOT_FOUND."""
    return _found(db.one(_GET, of_organization=organization_id, of_campaign=campaign_id), campaign_id)


def get_with_deleted(db: Session, organization_id: UUID, campaign_id: UUID) -> Campaign:
    """The campaign, even if it is deleted; CAMPAIGN_NOT_FOUND."""
    return _found(db.one(_GET_WITH_DELETED, of_organization=organization_id, of_campaign=campaign_id), campaign_id)


def lock(tx: Transaction, organization_id: UUID, campaign_id: UUID) -> Campaign:
    """The campaign, even if it is deleted, with its row locked until the transaction ends; CAMPAIGN_NOT_FOUND."""
    return _found(tx.one(_LOCK, of_organization=organization_id, of_campaign=campaign_id), campaign_id)


def save(tx: Transaction, campaign: Campaign) -> None:
    """Stores a changed campaign whose row is locked."""
    values = {f"new_{name}": value for name, value in _values(campaign).items()}
    tx.execute(_UPDATE, of_organization=campaign.organization_id, of_campaign=campaign.id, **values)


def list_page(
    db: Session, organization_id: UUID, page: Page, state: State | None, words: str = ""
) -> Sequence[Campaign]:
    """The organization's campaigns, newest first, optionally only in this state or with a name similar to the words."""
    where: dict[str, object] = {"of_organization": organization_id, "before": page.before, "most": page.limit}
    if state:
        where["in_state"] = state
    if words:
        where["words"] = words
    rows = db.all(_LISTS[bool(state), bool(words)], **where)
    return [_campaign(row) for row in rows]


def _values(campaign: Campaign) -> dict[str, Any]:
    change = campaign.budget_change
    values: dict[str, Any] = dict(_NO_CHANGE)
    if change:
        values |= {column: getattr(change, name) for column, name in _BUDGET_CHANGE.items()}
    for column in _NAMES:
        if column not in values:
            value = getattr(campaign, _RENAMED.get(column, column))
            # psycopg writes a list as an array, but a tuple as a row.
            values[column] = list(value) if isinstance(value, tuple) else value
    return values


def _found(row: Any, campaign_id: UUID) -> Campaign:
    if row is None:
        raise CampaignNotFound(campaign_id)
    return _campaign(row)


def _campaign(row: Any) -> Campaign:
    columns = {name: tuple(value) if isinstance(value, list) else value for name, value in row._asdict().items()}
    change: dict[str, Any] = {name: columns.pop(column) for column, name in _BUDGET_CHANGE.items()}
    values: dict[str, Any] = {_RENAMED.get(name, name): value for name, value in columns.items()}
    values["budget_change"] = BudgetChange(**change) if change["key"] else None
    values["state"] = State(row.state)
    values["state_reasons"] = tuple(Reason(reason) for reason in row.state_reasons)
    return Campaign(**values)
