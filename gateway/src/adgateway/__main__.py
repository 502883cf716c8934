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

# Reading a path of the settings instead of the value itself, as deployments mount keys.
_KEYS_FILE = "service_keys_file"


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads settings (YAML or JSON) and writes the configuration as JSON; answers the exit code."""
    parser = argparse.ArgumentParser(prog="adgateway", description=__doc__)
    parser.add_argument("settings", type=Path, help="YAML or JSON file with the settings of README.md")
    parser.add_argument("--output", type=Path, help="where to write the configuration; standard output unless given")
    options = parser.parse_args(arguments)
    try:
        text = json.dumps(render(read(options.settings)), indent=2)
        if options.output:
            options.output.write_text(text)
        else:
            print(text)
    except (OSError, ValueError, yaml.YAMLError) as fault:
        print(f"adgateway: {options.settings}: {fault}", file=sys.stderr)
        return 2
    return 0


def read(path: Path) -> Settings:
    """The settings of a YAML or JSON file; addresses are host:port."""
    given = yaml.safe_load(path.read_text())
    if not isinstance(given, dict):
        raise ValueError("the settings are a mapping of names to values")
    if _KEYS_FILE in given:
        given["service_keys"] = Path(given.pop(_KEYS_FILE)).read_text()
    known = {field.name for field in fields(Settings)}
    if unknown := sorted(set(given) - known):
        raise ValueError(f"{', '.join(unknown)}: there is no such setting")
    try:
        given["endpoints"] = {name: _addresses(name, value) for name, value in given["endpoints"].items()}
        given["pixel_http"] = _addresses("pixel_http", given["pixel_http"])
        return Settings(**given)
    except (KeyError, TypeError, AttributeError) as fault:
        raise ValueError(f"a setting is missing or of the wrong kind: {fault}") from fault


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
