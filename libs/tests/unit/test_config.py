"""Errors of the configuration name the variable."""

from pathlib import Path

import pytest

from adlib.config import ConfigurationError, Environment


def test_missing_variable_is_named() -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL is not set"):
        Environment({}).text("DATABASE_URL")


def test_secret_can_be_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s" * 40 + "\n")
    assert Environment({"KEY_FILE": str(tmp_path / "key")}).secret("KEY", 32) == "s" * 40


def test_short_secret_and_invalid_number_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="KEY is shorter than 32"):
        Environment({"KEY": "short"}).secret("KEY", 32)
    with pytest.raises(ConfigurationError, match="PORTS must be whole numbers separated by commas"):
        Environment({"PORTS": "1,x"}).integers("PORTS")
