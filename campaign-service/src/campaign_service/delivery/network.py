"""What an ad network does for us, whichever it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition, Unavailable
from campaign_service.campaigns.model import Campaign
from campaign_service.stats.model import Figures, Slot


class NetworkRejected(FailedPrecondition):
    """The network refused, and would refuse again."""

    reason = ErrorReason.NETWORK_REJECTED

    def __init__(self, network: str, why: str) -> None:
        super().__init__(f"{network} refused the campaign: {why}", network=network)


class NetworkUnavailable(Unavailable):
    """The network does not answer, or not as agreed; whether it did what it was asked is unknown."""

    def __init__(self, network: str) -> None:
        super().__init__(f"{network} does not answer; try again", network=network)


class Network(Protocol):
    """An ad network. Every method: UNAVAILABLE within a few seconds; those that change something: NETWORK_REJECTED."""

    @property
    def code(self) -> str:
        """Its name in the contract."""
        ...

    @property
    def currency_code(self) -> str:
        """The one currency that it bills in."""
        ...

    def find(self, name: str) -> str | None:
        """The id of the campaign of exactly this name, or None."""
        ...

    def create(self, name: str, campaign: Campaign) -> str:
        """Makes a campaign that does not play yet; its id."""
        ...

    def play(self, external_id: str) -> None:
        """Lets it deliver, from its start time on. May be repeated."""
        ...

    def stop(self, external_id: str) -> None:
        """Ends its delivery until it is played again. May be repeated."""
        ...

    def set_budget(self, external_id: str, budget_micros: int) -> None:
        """Makes this all that it may ever spend. May be repeated."""
        ...

    def budget_micros(self, external_id: str) -> int:
        """All that it may ever spend, as the network has it; NETWORK_REJECTED where it does not know the campaign."""
        ...

    def statistics(self, external_ids: Sequence[str], first: date, last: date) -> Mapping[str, Mapping[Slot, Figures]]:
        """Cumulative figures of each campaign by day (UTC) and zone; at most 100 campaigns a call."""
        ...


def name_at_network(campaign: Campaign) -> str:
    """What the campaign is called at the networks: readable, and no other has the name."""
    return f"{campaign.name} [{campaign.id}]"


@dataclass(slots=True)
class FakeCampaign:
    """A campaign at the fake network."""

    name: str
    campaign: Campaign
    plays: bool = False
    budget_micros: int = 0
    figures: dict[Slot, Figures] = field(default_factory=dict)


class FakeNetwork:
    """A network in memory, for tests.

    `is_down`: does not answer; `loses_answers`: does what it is asked and then does not answer; `refuses`: why it
    refuses whatever would change something, after it has called `on_refusal`.
    """

    code = "TRAFFIC_ENGINE"
    currency_code = "USD"

    def __init__(self) -> None:
        self.campaigns: dict[str, FakeCampaign] = {}
        self.is_down = False
        self.loses_answers = False
        self.refuses = ""
        self.on_refusal: Callable[[], None] = lambda: None

    def report(self, external_id: str, day: date, zone_id: str, figures: Figures) -> None:
        """Makes these the cumulative figures of the day and zone."""
        self.campaigns[external_id].figures[day, zone_id] = figures

    def find(self, name: str) -> str | None:
        """The id of the campaign of exactly this name, or None."""
        self._answer()
        return next((id for id, kept in self.campaigns.items() if kept.name == name), None)

    def create(self, name: str, campaign: Campaign) -> str:
        """Makes a campaign that does not play yet; its id."""
        self._check()
        external_id = str(len(self.campaigns) + 1)
        self.campaigns[external_id] = FakeCampaign(name, campaign, budget_micros=campaign.budget_micros)
        self._answer()
        return external_id

    def play(self, external_id: str) -> None:
        """Lets it deliver."""
        self._known(external_id).plays = True
        self._answer()

    def stop(self, external_id: str) -> None:
        """Ends its delivery."""
        self._known(external_id).plays = False
        self._answer()

    def set_budget(self, external_id: str, budget_micros: int) -> None:
        """Makes this all that it may ever spend."""
        self._known(external_id).budget_micros = budget_micros
        self._answer()

    def budget_micros(self, external_id: str) -> int:
        """All that it may ever spend."""
        self._answer()
        if external_id not in self.campaigns:
            raise NetworkRejected(self.code, "it does not know the campaign")
        return self.campaigns[external_id].budget_micros

    def statistics(self, external_ids: Sequence[str], first: date, last: date) -> Mapping[str, Mapping[Slot, Figures]]:
        """Cumulative figures of each campaign by day and zone."""
        self._answer()
        return {
            id: {slot: figures for slot, figures in self.campaigns[id].figures.items() if first <= slot[0] <= last}
            for id in external_ids
            if id in self.campaigns
        }

    def _known(self, external_id: str) -> FakeCampaign:
        self._check()
        if external_id not in self.campaigns:
            raise NetworkRejected(self.code, "it does not know the campaign")
        return self.campaigns[external_id]

    def _check(self) -> None:
        if self.is_down:
            raise NetworkUnavailable(self.code)
        if self.refuses:
            self.on_refusal()
            raise NetworkRejected(self.code, self.refuses)

    def _answer(self) -> None:
        if self.is_down or self.loses_answers:
            raise NetworkUnavailable(self.code)
