"""The sandboxes' settings, read once from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path


class SettingsError(Exception):
    """A key is missing or unusable; the message names it."""


@dataclass(frozen=True)
class Settings:
    """Ports (0: any free one), keys, the state folder and the gateway. Without a port there is no chain."""

    stripe_port: int
    traffic_engine_port: int
    wise_port: int
    mail_port: int
    mail_smtp_port: int
    state_dir: Path
    gateway_url: str
    stripe_api_key: str
    stripe_webhook_secret: str
    traffic_engine_token: str
    wise_api_token: str
    wise_profile_id: int
    wise_webhook_key_pem: bytes
    chain_port: int | None = None
    chain_block_s: Decimal = Decimal(2)

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Read all settings; SettingsError names a missing or unusable variable."""
        return cls(
            stripe_port=_integer(environment, "STRIPE_SANDBOX_PORT", highest=65535),
            traffic_engine_port=_integer(environment, "TRAFFIC_ENGINE_SANDBOX_PORT", highest=65535),
            wise_port=_integer(environment, "WISE_SANDBOX_PORT", highest=65535),
            mail_port=_integer(environment, "MAIL_SANDBOX_PORT", highest=65535),
            mail_smtp_port=_integer(environment, "MAIL_SANDBOX_SMTP_PORT", highest=65535),
            state_dir=Path(_text(environment, "SANDBOX_STATE_DIR")),
            gateway_url=_text(environment, "GATEWAY_URL").rstrip("/"),
            stripe_api_key=_text(environment, "STRIPE_API_KEY"),
            stripe_webhook_secret=_text(environment, "STRIPE_WEBHOOK_SECRET"),
            traffic_engine_token=_text(environment, "TRAFFIC_ENGINE_TOKEN"),
            wise_api_token=_text(environment, "WISE_API_TOKEN"),
            wise_profile_id=_integer(environment, "WISE_PROFILE_ID", highest=2**53),
            wise_webhook_key_pem=_contents(environment, "WISE_WEBHOOK_PRIVATE_KEY_FILE"),
            chain_port=_port(environment, "CHAIN_SANDBOX_PORT"),
            chain_block_s=_seconds(environment, "CHAIN_SANDBOX_BLOCK_S"),
        )


def _text(environment: Mapping[str, str], name: str) -> str:
    """Return the value of NAME, or the content of the file NAME_FILE."""
    if value := environment.get(name):
        return value
    if environment.get(f"{name}_FILE"):
        return _contents(environment, f"{name}_FILE").decode().strip()
    raise SettingsError(f"{name} is not set")


def _integer(environment: Mapping[str, str], name: str, *, highest: int) -> int:
    value = _text(environment, name)
    if not value.isdecimal() or int(value) > highest:
        raise SettingsError(f"{name} must be a number from 0 to {highest}, not {value!r}")
    return int(value)


def _port(environment: Mapping[str, str], name: str) -> int | None:
    return _integer(environment, name, highest=65535) if environment.get(name) else None


def _seconds(environment: Mapping[str, str], name: str) -> Decimal:
    """Return the seconds between blocks, 2 by default; 0: blocks are mined only on request."""
    text = environment.get(name) or "2"
    try:
        found = Decimal(text)
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or not 0 <= found <= 3600:
        raise SettingsError(f"{name} must be a number of seconds from 0 to 3600, not {text!r}")
    return found


def _contents(environment: Mapping[str, str], name: str) -> bytes:
    path = environment.get(name)
    if not path:
        raise SettingsError(f"{name} is not set")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"{name}: {path} cannot be read: {error.strerror}") from error
