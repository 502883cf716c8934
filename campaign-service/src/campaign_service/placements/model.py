"""A campaign's placements: the campaign as each ad network knows it."""

from dataclasses import dataclass
from enum import StrEnum

from campaign_service.campaigns.model import Campaign


class State(StrEnum):
    """The campaign's last known state at the network."""

    PENDING = "PENDING"
    PLAYING = "PLAYING"
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True)
class Placement:
    """A campaign at a network; `external_id` is the network's id for it, None until the network has answered."""

    network: str
    external_name: str
    external_id: str | None


def external_name(campaign: Campaign) -> str:
    """The campaign's name at networks: readable and unique."""
    return f"{campaign.name} [{campaign.id}]"
