"""Typed configuration values from environment variables; errors name the variable."""

from collections.abc import Mapping
from pathlib import Path


class ConfigurationError(Exception):
    """A variable is missing or has an invalid value."""


class Environment:
    """Reads typed values from environment variables; every method raises ConfigurationError.

    Instead of any variable NAME, NAME_FILE can be set to the path of a file that contains the value.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str, default: str | None = None) -> str:
        """The value of `name`, or the default."""
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
        """The value of `name` as an integer."""
        text = self.text(name, None if default is None else str(default))
        try:
            return int(text)
        except ValueError:
            raise ConfigurationError(f"{name} must be a whole number, but is {text!r}") from None

    def integers(self, name: str) -> tuple[int, ...]:
        """The value of `name` as integers separated by commas."""
        text = self.text(name)
        try:
            return tuple(int(part) for part in text.split(","))
        except ValueError:
            raise ConfigurationError(f"{name} must be whole numbers separated by commas, but is {text!r}") from None

    def mapping(self, name: str) -> dict[str, str]:
        """The value of `name` as key=value pairs separated by commas; empty if it is not set."""
        pairs = [part.strip().partition("=") for part in self.text(name, "").split(",") if part.strip()]
        if wrong := [key for key, _, value in pairs if not key or not value]:
            raise ConfigurationError(f"{name} must be key=value pairs separated by commas, but has {wrong[0]!r}")
        return {key: value for key, _, value in pairs}

    def secret(self, name: str, min_length: int) -> str:
        """The secret `name`, of at least `min_length` characters; without a default."""
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
