"""Settings of analytics-service."""

from dataclasses import dataclass
from pathlib import Path

from adlib.config import ConfigurationError, Environment
from adlib.service import CommonSettings, read_common


@dataclass(frozen=True, slots=True)
class Config:
    """Settings, read once from the environment."""

    common: CommonSettings
    campaign_targets: str
    warehouse_path: Path


def read(environment: Environment) -> Config:
    """Reads the environment; ConfigurationError names a missing or invalid variable."""
    common = read_common(environment, "analytics-service")
    if len(common.rpc.ports) != 1:
        raise ConfigurationError("GRPC_PORTS must be one port: DuckDB lets one process write a file")
    return Config(
        common=common,
        campaign_targets=environment.text("CAMPAIGN_TARGETS"),
        warehouse_path=Path(environment.text("WAREHOUSE_PATH")),
    )
