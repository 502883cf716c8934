"""Writes the gateway's Envoy configuration: `adgateway SETTINGS [--output FILE]`."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from adgateway.configuration import Settings, render

# A path in place of the value of `service_keys`, because deployments mount keys as files.
_KEYS_FILE = "service_keys_file"


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads settings (YAML or JSON) and writes the configuration as JSON; returns the exit code."""
    parser = argparse.ArgumentParser(prog="adgateway", description=__doc__)
    parser.add_argument("settings", type=Path, help="YAML or JSON file of the settings in README.md")
    parser.add_argument("--output", type=Path, help="file for the configuration; default: standard output")
    options = parser.parse_args(arguments)
    try:
        text = json.dumps(render(read(options.settings)), indent=2)
        if options.output:
            options.output.write_text(text)
        else:
            print(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        print(f"adgateway: {options.settings}: {error}", file=sys.stderr)
        return 2
    return 0


def read(path: Path) -> Settings:
    """Reads settings from a YAML or JSON file, in which addresses are host:port."""
    given = yaml.safe_load(path.read_text())
    if not isinstance(given, dict):
        raise ValueError("the settings must be a mapping of names to values")
    if _KEYS_FILE in given:
        given["service_keys"] = Path(given.pop(_KEYS_FILE)).read_text()
    known = {field.name for field in fields(Settings)}
    if unknown := sorted(set(given) - known):
        raise ValueError(f"{', '.join(unknown)}: unknown setting")
    try:
        given["endpoints"] = {name: _addresses(name, value) for name, value in given["endpoints"].items()}
        given["pixel_http"] = _addresses("pixel_http", given["pixel_http"])
        return Settings(**given)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a setting is missing or has the wrong type: {error}") from error


def _addresses(name: str, value: Any) -> list[tuple[str, int]]:
    addresses = []
    for address in value:
        host, _, port = str(address).rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"{name}: {address} is not host:port")
        addresses.append((host.strip("[]"), int(port)))
    return addresses


if __name__ == "__main__":
    sys.exit(main())
