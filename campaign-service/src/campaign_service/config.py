"""The configuration of campaign-service."""

from collections.abc import Mapping
from dataclasses import dataclass

from adlib.config import Environment
from adlib.service import CommonSettings, read_common
from campaign_service import networks
from campaign_service.networks.protocol import NetworkSettings


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of campaign-service; `networks` has those that are available, by their names in the contract."""

    common: CommonSettings
    database_url: str
    payment_targets: str
    publisher_targets: str
    networks: Mapping[str, NetworkSettings]


def read(environment: Environment) -> Config:
    """Reads the environment; ConfigurationError naming a missing key."""
    return Config(
        common=read_common(environment, "campaign-service"),
        database_url=environment.text("DATABASE_URL"),
        payment_targets=environment.text("PAYMENT_TARGETS"),
        publisher_targets=environment.text("PUBLISHER_TARGETS"),
        networks=networks.read(environment),
    )
