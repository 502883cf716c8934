"""The ad network interface and its errors."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Protocol

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition, Unavailable
from campaign_service.campaigns.model import Campaign
from campaign_service.stats.model import Figures, Slot


class NetworkRejected(FailedPrecondition):
    """The network refused the call and would refuse it again."""

    reason = ErrorReason.NETWORK_REJECTED

    def __init__(self, network: str, why: str) -> None:
        super().__init__(f"{network} refused the campaign: {why}", network=network)


class NetworkUnavailable(Unavailable):
    """The network did not answer, or its answer could not be read; whether the call took effect is unknown."""

    def __init__(self, network: str) -> None:
        super().__init__(f"{network} does not answer; try again", network=network)


class Network(Protocol):
    """An ad network's API.

    Every method raises UNAVAILABLE within a few seconds where the network does not answer. Methods that change
    something raise NETWORK_REJECTED where the network refuses; all of them but `create` may be repeated.
    """

    @property
    def code(self) -> str:
        """The network's name in the contract."""
        ...

    @property
    def currency_code(self) -> str:
        """The currency that the network bills in."""
        ...

    def find(self, name: str) -> str | None:
        """The id of the campaign with exactly this name, or None."""
        ...

    def create(self, name: str, campaign: Campaign) -> str:
        """Creates the campaign, stopped; returns its id. A repeat creates a second one: call `find` first."""
        ...

    def play(self, external_id: str) -> None:
        """Starts delivery, from the campaign's start time on."""
        ...

    def stop(self, external_id: str) -> None:
        """Stops delivery until the next `play`."""
        ...

    def set_budget(self, external_id: str, budget_micros: int) -> None:
        """Sets the total that the campaign may spend."""
        ...

    def budget_micros(self, external_id: str) -> int:
        """The total that the campaign may spend, as the network stores it; NETWORK_REJECTED for an unknown campaign."""
        ...

    def statistics(self, external_ids: Sequence[str], first: date, last: date) -> Mapping[str, Mapping[Slot, Figures]]:
        """Cumulative figures of up to 100 campaigns, by day (UTC) and zone."""
        ...

    def close(self) -> None:
        """Closes the network's connections."""
        ...


class NetworkSettings(Protocol):
    """How the platform is configured for one network."""

    def open(self) -> Network:
        """A client of the network's API."""
        ...
