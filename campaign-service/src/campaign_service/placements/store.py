"""Placements in PostgreSQL."""

from collections.abc import Mapping, Sequence

from sqlalchemy import and_, bindparam, insert, select, update

from adlib.db import Query, Session, Transaction
from campaign_service.campaigns.model import Campaign
from campaign_service.placements.model import Placement, State
from campaign_service.tables import campaign_networks

_OF_CAMPAIGN = and_(
    campaign_networks.c.organization_id == bindparam("of_organization"),
    campaign_networks.c.campaign_id == bindparam("of_campaign"),
)
_ADD = Query(
    insert(campaign_networks).values(
        organization_id=bindparam("organization"), campaign_id=bindparam("campaign"), network=bindparam("at_network"),
        external_name=bindparam("new_name"), state=State.PENDING,
    )
)  # fmt: skip
_PLACEMENTS = Query(
    select(campaign_networks.c.network, campaign_networks.c.external_name, campaign_networks.c.external_id)
    .where(_OF_CAMPAIGN)
    .order_by(campaign_networks.c.network)
    .limit(10)
)
_UPDATE = Query(
    update(campaign_networks)
    .where(_OF_CAMPAIGN, campaign_networks.c.network == bindparam("at_network"))
    .values(external_id=bindparam("new_external_id"), state=bindparam("new_state"))
)


def add(tx: Transaction, campaign: Campaign, names: Mapping[str, str]) -> None:
    """Stores the campaign's name at each network; a name that is stored already stays."""
    stored = {placement.network for placement in of_campaign(tx, campaign)}
    for network, name in names.items():
        if network not in stored:
            tx.execute(
                _ADD, organization=campaign.organization_id, campaign=campaign.id, at_network=network, new_name=name
            )


def of_campaign(db: Session, campaign: Campaign) -> Sequence[Placement]:
    """The campaign's placements."""
    rows = db.all(_PLACEMENTS, of_organization=campaign.organization_id, of_campaign=campaign.id)
    return [Placement(row.network, row.external_name, row.external_id) for row in rows]


def update_states(tx: Transaction, campaign: Campaign, external_ids: Mapping[str, str], state: State) -> None:
    """Stores the networks' ids for the campaign, and its state there."""
    for network, external_id in external_ids.items():
        tx.execute(
            _UPDATE, of_organization=campaign.organization_id, of_campaign=campaign.id, at_network=network,
            new_external_id=external_id, new_state=state,
        )  # fmt: skip
