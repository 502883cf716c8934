"""The sandboxes' settings: each sandbox reads its own variables from the environment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from pkgutil import iter_modules


class SettingsError(Exception):
    """A key is missing or unusable; the message names it."""


def parties() -> Sequence[str]:
    """Return the outside parties, sorted: the folders of this package. The `sandbox.py` of each has `build`."""
    return sorted(module.name for module in iter_modules([str(Path(__file__).parent)]) if module.ispkg)


@dataclass(frozen=True)
class Settings:
    """Reads variables; every method raises SettingsError naming a missing or unusable one."""

    environment: Mapping[str, str] = field(repr=False)

    @property
    def state_dir(self) -> Path:
        """The folder of the sandboxes' databases."""
        return Path(self.text("SANDBOX_STATE_DIR"))

    @property
    def gateway_url(self) -> str:
        """The URL that webhooks are sent to, without their path."""
        return self.text("GATEWAY_URL").rstrip("/")

    def has_port(self, party: str) -> bool:
        """Whether the party's sandbox is to be served."""
        return bool(self.environment.get(_port_name(party)))

    def port(self, party: str) -> int:
        """Return the port of the party's sandbox; 0: any free one."""
        return self.integer(_port_name(party), highest=65535)

    def text(self, name: str) -> str:
        """Return the value of NAME, or the content of the file NAME_FILE."""
        if value := self.environment.get(name):
            return value
        if self.environment.get(f"{name}_FILE"):
            return self.contents(f"{name}_FILE").decode().strip()
        raise SettingsError(f"{name} is not set")

    def integer(self, name: str, *, highest: int) -> int:
        """Return a number from 0 to the highest."""
        value = self.text(name)
        if not value.isdecimal() or int(value) > highest:
            raise SettingsError(f"{name} must be a number from 0 to {highest}, not {value!r}")
        return int(value)

    def seconds(self, name: str, default: str) -> Decimal:
        """Return a number of seconds, at most an hour."""
        text = self.environment.get(name) or default
        try:
            found = Decimal(text)
        except InvalidOperation:
            found = Decimal("NaN")
        if not found.is_finite() or not 0 <= found <= 3600:
            raise SettingsError(f"{name} must be a number of seconds from 0 to 3600, not {text!r}")
        return found

    def contents(self, name: str) -> bytes:
        """Return the content of the file whose path is the value of NAME."""
        path = self.environment.get(name)
        if not path:
            raise SettingsError(f"{name} is not set")
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise SettingsError(f"{name}: {path} cannot be read: {error.strerror}") from error


def _port_name(party: str) -> str:
    return f"{party.upper()}_SANDBOX_PORT"
