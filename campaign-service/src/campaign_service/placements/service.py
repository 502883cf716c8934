"""Finds, stops and limits campaigns at their ad networks."""

from collections.abc import Mapping, Sequence

from adlib.db import Database
from campaign_service.campaigns.model import Campaign, NetworkNotAvailable
from campaign_service.networks.protocol import Network
from campaign_service.placements import store
from campaign_service.placements.model import Placement


class Placements:
    """A campaign at its networks. The mappings are from a network's name to its id for the campaign."""

    def __init__(self, db: Database, networks: Mapping[str, Network]) -> None:
        self._db = db
        self._networks = networks

    def network(self, code: str) -> Network:
        """The network; NETWORK_NOT_AVAILABLE."""
        if network := self._networks.get(code):
            return network
        raise NetworkNotAvailable(code)

    def find(self, campaign: Campaign) -> dict[str, str]:
        """The campaign's ids at the networks that have it. Networks are asked where no id is stored."""
        found = {}
        for placement in self.of_campaign(campaign):
            network = self.network(placement.network)
            if external_id := placement.external_id or network.find(placement.external_name):
                found[network.code] = external_id
        return found

    def find_or_create(self, placement: Placement, campaign: Campaign) -> str:
        """The network's id for the campaign, which is created where the network does not have it; NETWORK_REJECTED."""
        network = self.network(placement.network)
        return (
            placement.external_id
            or network.find(placement.external_name)
            or network.create(placement.external_name, campaign)
        )

    def of_campaign(self, campaign: Campaign) -> Sequence[Placement]:
        """The campaign's placements; none before its first start."""
        return store.of_campaign(self._db, campaign)

    def play(self, external_ids: Mapping[str, str]) -> None:
        """Starts delivery at these networks."""
        for code, external_id in external_ids.items():
            self.network(code).play(external_id)

    def stop(self, external_ids: Mapping[str, str]) -> None:
        """Stops delivery at these networks."""
        for code, external_id in external_ids.items():
            self.network(code).stop(external_id)

    def set_budget(self, external_ids: Mapping[str, str], budget_micros: int) -> None:
        """Sets the budget at these networks."""
        for code, external_id in external_ids.items():
            self.network(code).set_budget(external_id, budget_micros)
