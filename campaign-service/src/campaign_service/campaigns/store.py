"""Campaigns and their places at the networks, in PostgreSQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, bindparam, func, insert, or_, select, update

from adlib.db import Query, Session, Transaction
from adlib.paging import Page
from campaign_service.campaigns.model import Campaign, CampaignNotFound, Reason, State
from campaign_service.tables import campaign_networks, campaigns

# How alike words and a name must be, by the trigrams they share (pg_trgm): "sprnig sale" finds "Spring sale".
_ALIKE = 0.4

_FIELDS = [field.name for field in fields(Campaign)]
_COLUMNS = [campaigns.c[name] for name in _FIELDS]
_IS_IT = and_(
    campaigns.c.organization_id == bindparam("of_organization"),
    campaigns.c.id == bindparam("of_campaign"),
)
_ADD = Query(insert(campaigns).values({name: bindparam(name) for name in _FIELDS}))
_GET = Query(select(*_COLUMNS).where(_IS_IT, campaigns.c.deleted_at.is_(None)))
_KEPT = Query(select(*_COLUMNS).where(_IS_IT))
_LOCK = Query(select(*_COLUMNS).where(_IS_IT).with_for_update())
_PUT = Query(update(campaigns).where(_IS_IT).values({name: bindparam(f"new_{name}") for name in _FIELDS}))
_PAGE = (
    select(*_COLUMNS)
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
_NAMED = or_(
    func.strpos(func.lower(campaigns.c.name), func.lower(bindparam("words"))) > 0,
    func.word_similarity(bindparam("words"), campaigns.c.name) >= _ALIKE,
)
_LISTS = {
    (False, False): Query(_PAGE),
    (True, False): Query(_PAGE.where(_IN_STATE)),
    (False, True): Query(_PAGE.where(_NAMED)),
    (True, True): Query(_PAGE.where(_IN_STATE, _NAMED)),
}
_OF_CAMPAIGN = and_(
    campaign_networks.c.organization_id == bindparam("of_organization"),
    campaign_networks.c.campaign_id == bindparam("of_campaign"),
)
_PLACE = Query(
    insert(campaign_networks).values(
        organization_id=bindparam("organization"), campaign_id=bindparam("campaign"), network=bindparam("at_network"),
        external_name=bindparam("called"), state="PENDING",
    )
)  # fmt: skip
_PLACEMENTS = Query(
    select(campaign_networks.c.network, campaign_networks.c.external_name, campaign_networks.c.external_id)
    .where(_OF_CAMPAIGN)
    .order_by(campaign_networks.c.network)
    .limit(10)
)
_SET_PLACEMENT = Query(
    update(campaign_networks)
    .where(_OF_CAMPAIGN, campaign_networks.c.network == bindparam("at_network"))
    .values(external_id=bindparam("known_as"), state=bindparam("now_is"))
)
_HALF_DONE_OF_ALL = Query(
    select(campaigns.c.organization_id, campaigns.c.id)
    .where(
        or_(
            # Who owes money is not given a minute.
            campaigns.c.is_suspending,
            and_(
                campaigns.c.updated_at < bindparam("started_before"),
                or_(
                    and_(campaigns.c.state == State.DRAFT, campaigns.c.hold_key.is_not(None)),
                    # About to be played again.
                    and_(campaigns.c.state == State.PAUSED, campaigns.c.stopped_at.is_(None)),
                    # What is over and has a hold is given all of it back, later.
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
                    # It never delivered.
                    and_(campaigns.c.hold_returning, campaigns.c.updated_at < bindparam("started_before")),
                ),
            ),
        ),
    )
    .order_by(campaigns.c.id)
    .limit(1000)
)


_BEGIN_SUSPENDING = Query(
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


@dataclass(frozen=True, slots=True)
class Placement:
    """A campaign's place at a network; `external_id` is the network's own, once it is known."""

    network: str
    external_name: str
    external_id: str | None


def add(tx: Transaction, campaign: Campaign) -> None:
    """Stores a new campaign."""
    tx.execute(_ADD, **_values(campaign))


def get(db: Session, organization_id: UUID, campaign_id: UUID) -> Campaign:
    """The campaign; CAMPAIGN_NOT_FOUND."""
    return _found(db.one(_GET, of_organization=organization_id, of_campaign=campaign_id), campaign_id)


def kept(db: Session, organization_id: UUID, campaign_id: UUID) -> Campaign:
    """The campaign, also a deleted one; CAMPAIGN_NOT_FOUND."""
    return _found(db.one(_KEPT, of_organization=organization_id, of_campaign=campaign_id), campaign_id)


def lock(tx: Transaction, organization_id: UUID, campaign_id: UUID) -> Campaign:
    """The campaign, also a deleted one, nobody else's to change until the transaction ends; CAMPAIGN_NOT_FOUND."""
    return _found(tx.one(_LOCK, of_organization=organization_id, of_campaign=campaign_id), campaign_id)


def put(tx: Transaction, campaign: Campaign) -> None:
    """Stores what has changed of a locked campaign."""
    values = {f"new_{name}": value for name, value in _values(campaign).items()}
    tx.execute(_PUT, of_organization=campaign.organization_id, of_campaign=campaign.id, **values)


def newest(db: Session, organization_id: UUID, page: Page, state: State | None, words: str = "") -> Sequence[Campaign]:
    """The organization's campaigns, newest first: all, or those in this state, or with a name like these words."""
    where: dict[str, object] = {"of_organization": organization_id, "before": page.before, "most": page.limit}
    if state:
        where["in_state"] = state
    if words:
        where["words"] = words
    rows = db.all(_LISTS[bool(state), bool(words)], **where)
    return [_campaign(row) for row in rows]


def place(tx: Transaction, campaign: Campaign, names: Mapping[str, str]) -> None:
    """Remembers by which name each network will know the campaign, unless that is remembered already."""
    known = {placement.network for placement in placements(tx, campaign)}
    for network, name in names.items():
        if network not in known:
            tx.execute(
                _PLACE, organization=campaign.organization_id, campaign=campaign.id, at_network=network, called=name
            )


def placements(db: Session, campaign: Campaign) -> Sequence[Placement]:
    """The campaign's places at its networks."""
    rows = db.all(_PLACEMENTS, of_organization=campaign.organization_id, of_campaign=campaign.id)
    return [Placement(row.network, row.external_name, row.external_id) for row in rows]


def set_placements(tx: Transaction, campaign: Campaign, external_ids: Mapping[str, str], state: str) -> None:
    """Stores the ids that the networks gave, and that they are PLAYING or STOPPED there."""
    for network, external_id in external_ids.items():
        tx.execute(
            _SET_PLACEMENT, of_organization=campaign.organization_id, of_campaign=campaign.id, at_network=network,
            known_as=external_id, now_is=state,
        )  # fmt: skip


def begin_suspending(tx: Transaction, organization_id: UUID, currency_code: str) -> Sequence[UUID]:
    """Marks what the organization lets deliver, or holds money for, to be stopped and its hold given back; their ids.

    What is COMPLETED has stopped, and its hold comes back in time.
    """
    rows = tx.all(_BEGIN_SUSPENDING, of_organization=organization_id, in_currency=currency_code)
    return [row.id for row in rows]


def half_done_of_all(db: Session, started_before: datetime, stopped_before: datetime) -> Sequence[tuple[UUID, UUID]]:
    """Organization and id of every tenant's campaigns that were left half done or whose rest is to be given back.

    For jobs alone.
    """
    rows = db.all(_HALF_DONE_OF_ALL, started_before=started_before, stopped_before=stopped_before)
    return [(row.organization_id, row.id) for row in rows]


def _values(campaign: Campaign) -> dict[str, Any]:
    values = {name: getattr(campaign, name) for name in _FIELDS}
    # psycopg writes a list as an array, but a tuple as a row.
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _found(row: Any, campaign_id: UUID) -> Campaign:
    if row is None:
        raise CampaignNotFound(campaign_id)
    return _campaign(row)


def _campaign(row: Any) -> Campaign:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in row._asdict().items()
    }
    values["state"] = State(row.state)
    values["state_reasons"] = tuple(Reason(reason) for reason in row.state_reasons)
    return Campaign(**values)
