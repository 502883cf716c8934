"""Configuration from the environment, read once; what is missing or wrong is named."""

from collections.abc import Mapping
from pathlib import Path


class ConfigurationError(Exception):
    """A variable that is missing or cannot be understood."""


class Environment:
    """Reads typed values from environment variables.

    Any variable NAME may be given as NAME_FILE instead, the path of a file that holds the value.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str, default: str | None = None) -> str:
        """The value of `name`; ConfigurationError where it is missing and there is no default."""
        if value := self._variables.get(name):
            return value
        if path := self._variables.get(f"{name}_FILE"):
            return self._read(f"{name}_FILE", path)
        if default is None:
            raise ConfigurationError(f"{name} is not set: give {name}, or {name}_FILE with the path of a file")
        return default

    def file(self, name: str) -> str:
        """The text of the file whose path is the value of `name`."""
        return self._read(name, self.text(name))

    def integer(self, name: str, default: int | None = None) -> int:
        """The whole number that `name` spells."""
        text = self.text(name, None if default is None else str(default))
        try:
            return int(text)
        except ValueError:
            raise ConfigurationError(f"{name} is {text!r}, which is no whole number") from None

    def integers(self, name: str) -> tuple[int, ...]:
        """The whole numbers that `name` lists, separated by commas."""
        text = self.text(name)
        try:
            return tuple(int(part) for part in text.split(","))
        except ValueError:
            raise ConfigurationError(f"{name} is {text!r}; whole numbers separated by commas are needed") from None

    def mapping(self, name: str) -> dict[str, str]:
        """The pairs that `name` lists as key=value, separated by commas; none where it is not set."""
        pairs = [part.strip().partition("=") for part in self.text(name, "").split(",") if part.strip()]
        if wrong := [key for key, _, value in pairs if not key or not value]:
            raise ConfigurationError(f"{name} has {wrong[0]!r}; key=value pairs separated by commas are needed")
        return {key: value for key, _, value in pairs}

    def secret(self, name: str, min_length: int) -> str:
        """A secret of at least `min_length` characters; it has no default."""
        value = self.text(name)
        if len(value) < min_length:
            raise ConfigurationError(f"{name} is shorter than {min_length} characters")
        return value

    @staticmethod
    def _read(name: str, path: str) -> str:
        try:
            return Path(path).read_text().strip()
        except OSError as error:
            raise ConfigurationError(f"{name} names {path}, which cannot be read: {error.strerror}") from None
