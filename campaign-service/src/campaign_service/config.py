"""Settings of campaign-service."""

from dataclasses import dataclass

from adlib.config import Environment
from adlib.service import CommonSettings, read_common


@dataclass(frozen=True, slots=True)
class Config:
    """What campaign-service is told from outside; a network without a URL is not available."""

    common: CommonSettings
    database_url: str
    payment_targets: str
    publisher_targets: str
    traffic_engine_url: str
    traffic_engine_token: str


def read(environment: Environment) -> Config:
    """Reads the environment; ConfigurationError naming what is missing."""
    traffic_engine_url = environment.text("TRAFFIC_ENGINE_URL", "")
    return Config(
        common=read_common(environment, "campaign-service"),
        database_url=environment.text("DATABASE_URL"),
        payment_targets=environment.text("PAYMENT_TARGETS"),
        publisher_targets=environment.text("PUBLISHER_TARGETS"),
        traffic_engine_url=traffic_engine_url.rstrip("/"),
        traffic_engine_token=environment.text("TRAFFIC_ENGINE_TOKEN") if traffic_engine_url else "",
    )
