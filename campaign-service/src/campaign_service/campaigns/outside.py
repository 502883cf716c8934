"""What the verbs of a campaign have in common: one at a time, and its places at the networks."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from adlib.db import Database
from adlib.errors import Aborted
from campaign_service.campaigns import store
from campaign_service.campaigns.model import Campaign, NetworkNotAvailable
from campaign_service.deadlines import within
from campaign_service.delivery.network import Network

# For everything that one verb asks of the outside; a client behind a gateway waits no longer than 10 s.
_VERB_S = 8.0


@contextmanager
def alone(db: Database, organization_id: UUID, campaign_id: UUID, *, deleted: bool = False) -> Iterator[Campaign]:
    """The campaign as it is, while no other call talks to the outside about it; CAMPAIGN_NOT_FOUND, CONFLICT.

    `deleted`: also a deleted one.
    """
    read = store.kept if deleted else store.get
    read(db, organization_id, campaign_id)
    with within(_VERB_S), db.advisory_lock(f"campaign:{campaign_id}") as is_alone:
        if not is_alone:
            raise Aborted("another call is changing this campaign; try again", campaignId=campaign_id)
        yield read(db, organization_id, campaign_id)


class Places:
    """A campaign's places at the networks."""

    def __init__(self, db: Database, networks: Mapping[str, Network]) -> None:
        self._db = db
        self._networks = networks

    def network(self, code: str) -> Network:
        """The network; NETWORK_NOT_AVAILABLE."""
        if network := self._networks.get(code):
            return network
        raise NetworkNotAvailable(code)

    def find(self, campaign: Campaign) -> dict[str, str]:
        """The campaign's ids at the networks that know it."""
        found = {}
        for placement in store.placements(self._db, campaign):
            network = self.network(placement.network)
            if external_id := placement.external_id or network.find(placement.external_name):
                found[network.code] = external_id
        return found

    def stop(self, placed: Mapping[str, str]) -> Mapping[str, str]:
        """Ends delivery at all of them."""
        for code, external_id in placed.items():
            self.network(code).stop(external_id)
        return placed

    def set_budget(self, placed: Mapping[str, str], budget_micros: int) -> None:
        """Tells all of them the budget."""
        for code, external_id in placed.items():
            self.network(code).set_budget(external_id, budget_micros)
