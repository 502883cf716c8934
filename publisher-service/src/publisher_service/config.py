"""The configuration of publisher-service."""

from dataclasses import dataclass

from adlib.config import ConfigurationError, Environment
from adlib.service import CommonSettings, read_common


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of publisher-service; the default share is a new publisher's part of the spend, 7000 for 70 %."""

    common: CommonSettings
    database_url: str
    payment_targets: str
    default_share_basis_points: int = 7000


def read(environment: Environment) -> Config:
    """Reads the environment; ConfigurationError naming a missing key."""
    share = environment.integer("DEFAULT_SHARE_BASIS_POINTS", 7000)
    if not 0 <= share <= 10_000:
        raise ConfigurationError(f"DEFAULT_SHARE_BASIS_POINTS is {share}; give 0 to 10000, 7000 for 70 %")
    return Config(
        common=read_common(environment, "publisher-service"),
        database_url=environment.text("DATABASE_URL"),
        payment_targets=environment.text("PAYMENT_TARGETS"),
        default_share_basis_points=share,
    )
