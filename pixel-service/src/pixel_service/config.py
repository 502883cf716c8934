"""Settings of pixel-service."""

from dataclasses import dataclass

from adlib.config import ConfigurationError, Environment
from adlib.service import CommonSettings, read_common


@dataclass(frozen=True, slots=True)
class Config:
    """Settings, read once from the environment."""

    common: CommonSettings
    database_url: str
    campaign_targets: str
    http_port: int
    public_url: str
    """The URL at which browsers and partners reach the tracking URLs, without a trailing slash."""
    signing_key: bytes
    is_proxied: bool
    """Whether HTTP_PORT is reached only through a gateway whose headers name the client."""


def read(environment: Environment) -> Config:
    """Reads the environment; ConfigurationError names a missing or invalid variable."""
    return Config(
        common=read_common(environment, "pixel-service"),
        database_url=environment.text("DATABASE_URL"),
        campaign_targets=environment.text("CAMPAIGN_TARGETS"),
        http_port=environment.integer("HTTP_PORT"),
        public_url=environment.text("PUBLIC_URL").rstrip("/"),
        signing_key=environment.secret("CLICK_SIGNING_KEY", 32).encode(),
        is_proxied=_flag(environment, "TRUSTED_PROXY", "true"),
    )


def _flag(environment: Environment, name: str, default: str) -> bool:
    text = environment.text(name, default).lower()
    if text not in ("true", "false"):
        raise ConfigurationError(f"{name} is {text!r}; it must be true or false")
    return text == "true"
