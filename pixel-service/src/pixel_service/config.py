"""Settings of pixel-service."""

from dataclasses import dataclass

from adlib.config import ConfigurationError, Environment
from adlib.service import CommonSettings, read_common


@dataclass(frozen=True, slots=True)
class Config:
    """What pixel-service is told from outside."""

    common: CommonSettings
    database_url: str
    campaign_targets: str
    http_port: int
    public_url: str
    """Where browsers and partners reach the tracking URLs, without a slash at the end."""
    signing_key: bytes
    trusted_proxy: bool
    """Whether a gateway stands before HTTP_PORT and says in its headers who the client is."""


def read(environment: Environment) -> Config:
    """Reads the environment; ConfigurationError naming what is missing."""
    return Config(
        common=read_common(environment, "pixel-service"),
        database_url=environment.text("DATABASE_URL"),
        campaign_targets=environment.text("CAMPAIGN_TARGETS"),
        http_port=environment.integer("HTTP_PORT"),
        public_url=environment.text("PUBLIC_URL").rstrip("/"),
        signing_key=environment.secret("CLICK_SIGNING_KEY", 32).encode(),
        trusted_proxy=_flag(environment, "TRUSTED_PROXY", "true"),
    )


def _flag(environment: Environment, name: str, default: str) -> bool:
    text = environment.text(name, default).lower()
    if text not in ("true", "false"):
        raise ConfigurationError(f"{name} is {text!r}; true or false is needed")
    return text == "true"
