"""The settings of TrafficEngine."""

from dataclasses import dataclass

from adlib.config import Environment
from campaign_service.networks.traffic_engine.client import TrafficEngine

CODE = TrafficEngine.code


@dataclass(frozen=True, slots=True)
class TrafficEngineSettings:
    """The account at TrafficEngine; `url` is its base URL without `/v5`."""

    url: str
    token: str

    def open(self) -> TrafficEngine:
        """A client of TrafficEngine's API."""
        return TrafficEngine(self.url, self.token)


def read(environment: Environment) -> TrafficEngineSettings | None:
    """None without TRAFFIC_ENGINE_URL; ConfigurationError where it has no token."""
    url = environment.text("TRAFFIC_ENGINE_URL", "").rstrip("/")
    return TrafficEngineSettings(url, environment.text("TRAFFIC_ENGINE_TOKEN")) if url else None
